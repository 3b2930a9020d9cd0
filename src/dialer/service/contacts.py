"""Loading contacts into a batch: a whole file or nothing, with a report of the rows that were passed over."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any, Protocol

from pendulum import DateTime

from dialer.domain.calling_rules import CallingRules
from dialer.domain.contact import NewContact
from dialer.domain.ids import BatchId, ContactId, FolderId, WorkspaceId, uuid7
from dialer.domain.lane import zones_lane
from dialer.domain.outcomes import Outcome
from dialer.domain.phone import normalise, plausible_timezones
from dialer.domain.states import FINAL_BATCH, ContactStatus
from dialer.errors import Contended, NotFound
from dialer.service.contact_csv import RowError, read_contacts
from dialer.service.contact_json import NewContacts
from dialer.service.csv_reader import Readable
from dialer.store import batches, call_views, contact_views, folder_contacts, workspaces
from dialer.store.batches import ImportSettings
from dialer.store.contact_import import Imported, batch_is_over, stage, store, take_turn
from dialer.store.database import Connection, Database

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
class Rejected:
    """The rows that were passed over: how many, and the first of them."""

    count: int = 0
    shown: list[RowError] = field(default_factory=list)

    def sort_out(self, found: Iterable[NewContact | RowError]) -> Iterator[NewContact]:
        """Yield the contacts; note the rows that are none."""
        for one in found:
            if isinstance(one, RowError):
                self.count += 1
                if len(self.shown) < SHOWN_ERRORS:
                    self.shown.append(one)
            else:
                yield one

    def report(self, stored: Imported) -> ImportReport:
        """Say what became of each row, when all have been sorted out and stored."""
        return ImportReport(stored.imported, stored.duplicates, stored.suppressed, self.count, tuple(self.shown))


def import_csv(
    db: Database, workspace_id: WorkspaceId, batch_id: BatchId, stream: Readable, now: DateTime, rng: Random
) -> ImportReport:
    """Add the contacts of a CSV file to a batch that is not over.

    Raises:
        NotFound: no such batch in this workspace.
        StateConflict: the batch is over (`batch_is_final`), or has ended while the file was read.
        UnreadableFile: the file as a whole cannot be read.
    Nothing is stored then.
    """
    return _add(db, workspace_id, batch_id, partial(read_contacts, stream), now, rng)


def add(
    db: Database, workspace_id: WorkspaceId, batch_id: BatchId, new: NewContacts, now: DateTime, rng: Random
) -> ImportReport:
    """Add contacts to a batch that is not over; raises NotFound and StateConflict as `import_csv` does."""
    return _add(db, workspace_id, batch_id, new.parsed, now, rng)


def load_folder(db: Database, batch_id: BatchId, folder_id: FolderId, now: DateTime, rng: Random) -> None:
    """Add the contacts of a folder to a batch that was created just now, in the transaction that has created it."""
    with db.begin() as connection:
        by_zone = batches.respects_contact_timezone(connection, batch_id)
        found = folder_contacts.everyone(connection, folder_id)
        copied = stage(db, ((uuid7(now, rng), one, _lane(one) if by_zone else "") for one in found))
        take_turn(connection, batch_id)
        store(connection, batch_id, copied)


def listed(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    *,
    status: ContactStatus | None = None,
    outcome: Outcome | None = None,
    phone_number: str | None = None,
    external_id: str | None = None,
    limit: int,
    offset: int,
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of a batch's contacts in their order; and how many there are. A number is read as on import."""
    with db.begin() as connection:
        settings = batches.import_settings(connection, workspace_id, batch_id)
        if settings is None:
            raise NotFound("No such batch in this workspace")
        number = None if phone_number is None else normalise(phone_number, settings.default_region)
        asked = contact_views.Asked(batch_id, status, outcome, number, external_id)
        found, total = contact_views.page(connection, asked, limit, offset)
        return [dict(row._mapping) for row in found], total


def show(db: Database, workspace_id: WorkspaceId, batch_id: BatchId, contact_id: ContactId) -> dict[str, Any]:
    """Read one contact with its `calls`, oldest first."""
    with db.begin() as connection:
        contact = contact_views.read(connection, workspace_id, batch_id, contact_id)
        if contact is None:
            raise NotFound("No such contact in this batch")
        made = call_views.of_contact(connection, contact_id)
        return dict(contact._mapping) | {"calls": [dict(call._mapping) for call in made]}


class Read(Protocol):
    def __call__(
        self, *, default_region: str | None, batch_timezone: str, rules: CallingRules
    ) -> Iterator[NewContact | RowError]: ...


def _add(
    db: Database, workspace_id: WorkspaceId, batch_id: BatchId, read: Read, now: DateTime, rng: Random
) -> ImportReport:
    rejected = Rejected()
    with db.session() as session:
        with session.begin() as connection:
            settings = _import_settings(connection, workspace_id, batch_id)
            rules = workspaces.rules(connection, workspace_id)
        found = read(default_region=settings.default_region, batch_timezone=settings.timezone, rules=rules)
        by_zone = settings.respect_contact_timezone
        copied = stage(
            session, ((uuid7(now, rng), one, _lane(one) if by_zone else "") for one in rejected.sort_out(found))
        )
        with session.begin() as connection:
            take_turn(connection, batch_id)
            present = _import_settings(connection, workspace_id, batch_id)
            if replace(present, status=settings.status) != settings:
                raise Contended("The batch was changed while its contacts were read; send them again")
            stored = store(connection, batch_id, copied)
    return rejected.report(stored)


def _import_settings(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> ImportSettings:
    """Read them; raises NotFound, and StateConflict where the batch is over."""
    settings = batches.import_settings(connection, workspace_id, batch_id)
    if settings is None:
        raise NotFound("No such batch in this workspace")
    if settings.status in FINAL_BATCH:
        raise batch_is_over(settings.status)
    return settings


def _lane(contact: NewContact) -> str:
    """A contact's own zone, or every zone its number may be in; a number that tells nothing follows the batch."""
    return zones_lane([contact.timezone] if contact.timezone else plausible_timezones(contact.phone_number))
