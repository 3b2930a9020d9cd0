"""Loading contacts into a batch: a whole file or nothing, with a report of the rows that were passed over."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import BinaryIO
from uuid import UUID

from pendulum import DateTime

from dialer.domain.contact import NewContact
from dialer.domain.ids import BatchId, WorkspaceId, uuid7
from dialer.domain.lane import zones_lane
from dialer.domain.phone import plausible_timezones
from dialer.domain.states import FINAL_BATCH
from dialer.errors import NotFound
from dialer.service.contact_file import RowError, read_contacts
from dialer.store import batches
from dialer.store.contact_import import batch_is_over, copy_contacts
from dialer.store.database import Database

SHOWN_ERRORS = 100


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of each row; the four counts add up to the rows of the file. `errors`: the first 100."""

    imported: int
    duplicates: int
    suppressed: int
    rejected: int
    errors: tuple[RowError, ...]


@dataclass(slots=True)
class _Rejected:
    count: int = 0
    shown: list[RowError] = field(default_factory=list)

    def note(self, error: RowError) -> None:
        self.count += 1
        if len(self.shown) < SHOWN_ERRORS:
            self.shown.append(error)


def import_csv(
    db: Database, workspace_id: WorkspaceId, batch_id: BatchId, stream: BinaryIO, now: DateTime, rng: Random
) -> ImportReport:
    """Add the contacts of a CSV file to a batch that is not over.

    Raises:
        NotFound: no such batch in this workspace.
        StateConflict: the batch is over (`batch_is_final`), or has ended while the file was read.
        UnreadableFile: the file as a whole cannot be read.
    Nothing is stored then.
    """
    rejected = _Rejected()
    with db.begin() as connection:
        settings = batches.import_settings(connection, workspace_id, batch_id)
        if settings is None:
            raise NotFound("No such batch in this workspace")
        if settings.status in FINAL_BATCH:
            raise batch_is_over(settings.status)
        rows = read_contacts(stream, default_region=settings.default_region, batch_timezone=settings.timezone)
        accepted = _accepted(rows, settings.respect_contact_timezone, rejected, now, rng)
        stored = copy_contacts(connection, batch_id, accepted)
    return ImportReport(stored.imported, stored.duplicates, stored.suppressed, rejected.count, tuple(rejected.shown))


def _accepted(
    rows: Iterator[NewContact | RowError], by_zone: bool, rejected: _Rejected, now: DateTime, rng: Random
) -> Iterator[tuple[UUID, NewContact, str]]:
    for row in rows:
        if isinstance(row, RowError):
            rejected.note(row)
        else:
            yield uuid7(now, rng), row, _lane(row) if by_zone else ""


def _lane(contact: NewContact) -> str:
    """A contact's own zone, or every zone its number may be in; a number that tells nothing follows the batch."""
    return zones_lane([contact.timezone] if contact.timezone else plausible_timezones(contact.phone_number))
