"""Suppressed numbers (do-not-call): looked at again in every claim, so a number added a moment ago is not called."""

from collections.abc import Iterator
from random import Random
from typing import Annotated
from uuid import UUID

from pendulum import DateTime
from pydantic import AfterValidator, ConfigDict, Field

from dialer.domain.contact import NewContact
from dialer.domain.ids import WorkspaceId, uuid7
from dialer.service.contact_csv import read_contacts
from dialer.service.contacts import ImportReport, Rejected
from dialer.service.csv_reader import Readable
from dialer.service.fields import Changes, Fields, PhoneNumber, storable
from dialer.service.resources import Kind
from dialer.store import suppressions
from dialer.store.contact_import import Imported
from dialer.store.database import Database
from dialer.store.resources import SUPPRESSIONS

Reason = Annotated[str, Field(max_length=255), AfterValidator(storable)]


class NewSuppression(Fields):
    model_config = ConfigDict(
        json_schema_extra={"example": {"phone_number": "+12025550112", "reason": "asked not to be called"}}
    )

    phone_number: PhoneNumber
    reason: Reason | None = None


class ChangedSuppression(Changes):
    reason: Reason | None = None


COLUMNS = ("phone_number", "reason")
KIND = Kind(SUPPRESSIONS, NewSuppression, ChangedSuppression, {})


def import_csv(db: Database, workspace_id: WorkspaceId, stream: Readable, now: DateTime, rng: Random) -> ImportReport:
    """Suppress the numbers of a CSV file (column `phone` or `phone_number`, and `reason`), whatever else it holds.

    Raises UnreadableFile: nothing of it was stored then.
    """
    rejected = Rejected()
    numbers = read_contacts(stream, default_region=None, batch_timezone="UTC", columns=COLUMNS)
    with db.session() as session:
        seen = suppressions.stage(session, _rows(rejected.sort_out(numbers), now, rng))
        with session.begin() as connection:
            stored = suppressions.store(connection, workspace_id)
    return rejected.report(Imported(stored, seen - stored, 0))


def _rows(found: Iterator[NewContact], now: DateTime, rng: Random) -> Iterator[tuple[UUID, str, str | None]]:
    for one in found:
        reason = next((str(value) for name, value in one.variables.items() if name.lower() == "reason"), None)
        yield uuid7(now, rng), one.phone_number, reason and reason[:255]
