"""Suppressed numbers (do-not-call). Every claim checks them, so a number that was just added is not called."""

from collections.abc import Iterator
from random import Random
from typing import Annotated
from uuid import UUID

from pendulum import DateTime
from pydantic import AfterValidator, ConfigDict, Field

from dialer.domain.contact import NewContact
from dialer.domain.ids import WorkspaceId, uuid7s
from dialer.domain.import_result import ImportResult
from dialer.service.contact_csv import read_contacts
from dialer.service.contacts import Rejections
from dialer.service.csv_reader import Readable
from dialer.service.fields import Changes, InputModel, PhoneNumber, storable
from dialer.service.resources import ResourceType
from dialer.store import suppressions
from dialer.store.contact_import import Imported
from dialer.store.database import Database
from dialer.store.resources import SUPPRESSIONS

Reason = Annotated[str, Field(max_length=255), AfterValidator(storable)]


class NewSuppression(InputModel):
    """A number to be suppressed."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"phone_number": "+12025550112", "reason": "asked not to be called"}}
    )

    phone_number: PhoneNumber
    reason: Reason | None = None


class ChangedSuppression(Changes):
    """The fields of a suppression to be changed."""

    reason: Reason | None = None


COLUMNS = ("phone_number", "reason")
SUPPRESSION_TYPE = ResourceType(SUPPRESSIONS, NewSuppression, ChangedSuppression, {})


def import_csv(db: Database, workspace_id: WorkspaceId, stream: Readable, now: DateTime, rng: Random) -> ImportResult:
    """Suppress the numbers of a CSV file. All are stored in one transaction.

    Args:
        db: the database.
        workspace_id: the workspace that must not call them.
        stream: the file, with the column `phone` or `phone_number`, and perhaps `reason`; others are ignored.
        now: the current time.
        rng: source of random numbers, for ids.

    Returns:
        What became of each row.

    Raises:
        UnreadableFile: the file as a whole cannot be read.
    """
    rejections = Rejections()
    rows = read_contacts(stream, default_region=None, batch_timezone="UTC", columns=COLUMNS)
    with db.session() as session:
        staged = suppressions.stage(session, _suppressions(rejections.filter(rows), now, rng))
        with session.begin() as connection:
            stored = suppressions.store(connection, workspace_id)
    return rejections.result(Imported(stored, staged - stored, 0))


def _suppressions(contacts: Iterator[NewContact], now: DateTime, rng: Random) -> Iterator[tuple[UUID, str, str | None]]:
    for suppression_id, contact in zip(uuid7s(now, rng), contacts, strict=False):
        reason = next((str(value) for name, value in contact.variables.items() if name.lower() == "reason"), None)
        yield suppression_id, contact.phone_number, reason and reason[:255]
