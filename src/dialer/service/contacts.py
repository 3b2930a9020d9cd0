"""Contacts of a batch: import (all rows of a file that can be called, or nothing), list and show.

An import is read from the outside in: `import_csv` reads the settings, parses the rows (`contact_csv`, `csv_reader`),
stages the contacts and stores them (`store/contact_import`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import islice
from random import Random
from typing import Any
from uuid import UUID

from pendulum import DateTime

from dialer.domain.calling_rules import CallingRules
from dialer.domain.contact import NewContact
from dialer.domain.ids import BatchId, ContactId, WorkspaceId, uuid7s
from dialer.domain.import_result import ImportResult, RejectedRow
from dialer.domain.lane import zones_lane
from dialer.domain.outcomes import Outcome
from dialer.domain.phone import normalise, plausible_timezones
from dialer.domain.states import FINAL_BATCH, ContactStatus
from dialer.errors import Contended, NotFound
from dialer.service import contact_csv, contact_json
from dialer.service.contact_json import NewContacts
from dialer.service.csv_reader import Readable
from dialer.store import batches, call_views, contact_import, contact_views, workspaces
from dialer.store.batches import ImportSettings
from dialer.store.contact_groups import InGroups
from dialer.store.contact_import import Imported
from dialer.store.database import Connection, Database

MAX_SHOWN_ERRORS = 100


@dataclass(slots=True)
class Rejections:
    """Collects the rejected rows of one import: their number, and the first of them."""

    count: int = 0
    first: list[RejectedRow] = field(default_factory=list)

    def filter(self, rows: Iterable[NewContact | RejectedRow]) -> Iterator[NewContact]:
        """Yield the contacts and collect the rejected rows.

        Args:
            rows: contacts and rejected rows, as a reader yields them.

        Yields:
            The contacts.
        """
        for row in rows:
            if isinstance(row, NewContact):
                yield row
                continue
            self.count += 1
            if len(self.first) < MAX_SHOWN_ERRORS:
                self.first.append(row)

    def result(self, imported: Imported) -> ImportResult:
        """Return the result, when all rows have been read and stored.

        Args:
            imported: the counts of the contacts that were stored or left out.

        Returns:
            What became of each row.
        """
        return ImportResult(imported.imported, imported.duplicates, imported.suppressed, self.count, tuple(self.first))


def import_csv(
    db: Database, workspace_id: WorkspaceId, batch_id: BatchId, stream: Readable, now: DateTime, rng: Random
) -> ImportResult:
    """Add the contacts of a CSV file to a batch that is not over. All are stored in one transaction.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        stream: the file; it is read once, in chunks.
        now: the current time.
        rng: source of random numbers, for ids.

    Returns:
        What became of each row.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: the batch is over (`batch_is_final`), or ended while the file was read.
        UnreadableFile: the file as a whole cannot be read.
        Contended: the batch was changed while the file was read.
    """
    with db.session() as session:
        settings, rules = _settings_and_rules(session, workspace_id, batch_id)
        rows = contact_csv.read_contacts(
            stream, default_region=settings.default_region, batch_timezone=settings.timezone, rules=rules
        )
        return _store(session, workspace_id, batch_id, settings, rows, now, rng)


@dataclass(frozen=True, slots=True)
class Preview:
    """The beginning of a file, read as an import would read it. Nothing was stored."""

    columns: list[tuple[str, str]]  #: The name of each column, and what it holds (`contact_csv.read_columns`).
    rows: list[NewContact | RejectedRow]


def preview_csv(db: Database, workspace_id: WorkspaceId, batch_id: BatchId, beginning: bytes, limit: int) -> Preview:
    """Read the first rows of a CSV file without storing them.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch that the file is for.
        beginning: the first bytes of the file; what follows the last line break is left out.
        limit: how many rows are returned at most.

    Returns:
        The columns and the first rows.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: the batch is over (`batch_is_final`).
        UnreadableFile: the file as a whole cannot be read.
    """
    whole_lines = beginning[: beginning.rfind(b"\n") + 1] or beginning
    with db.begin() as connection:
        settings, rules = _settings(connection, workspace_id, batch_id), workspaces.rules(connection, workspace_id)
    columns = contact_csv.read_columns(BytesIO(whole_lines))
    rows = contact_csv.read_contacts(
        BytesIO(whole_lines), default_region=settings.default_region, batch_timezone=settings.timezone, rules=rules
    )
    return Preview(columns, list(islice(rows, limit)))


def add(
    db: Database, workspace_id: WorkspaceId, batch_id: BatchId, new: NewContacts, now: DateTime, rng: Random
) -> ImportResult:
    """Add the contacts of a JSON body to a batch that is not over.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        new: the contacts.
        now: the current time.
        rng: source of random numbers, for ids.

    Returns:
        What became of each contact.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: the batch is over (`batch_is_final`).
        Contended: the batch was changed meanwhile.
    """
    with db.session() as session:
        settings, rules = _settings_and_rules(session, workspace_id, batch_id)
        rows = contact_json.read_contacts(
            new, default_region=settings.default_region, batch_timezone=settings.timezone, rules=rules
        )
        return _store(session, workspace_id, batch_id, settings, rows, now, rng)


def load(db: Database, batch_id: BatchId, contacts: Iterable[NewContact], now: DateTime, rng: Random) -> Imported:
    """Add stored contacts of a folder or another batch to a batch, in the transaction that creates it.

    Args:
        db: the database, within that transaction.
        batch_id: the batch.
        contacts: the contacts, in their order.
        now: the current time.
        rng: source of random numbers, for ids.

    Returns:
        The counts of the contacts that were stored or left out.
    """
    with db.begin() as connection:
        by_zone = batches.respects_contact_timezone(connection, batch_id)
        staged = contact_import.stage(db, _with_ids_and_lanes(contacts, by_zone, now, rng))
        contact_import.lock_target(connection, batch_id)
        return contact_import.store(connection, batch_id, staged)


def list_page(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    *,
    status: ContactStatus | None = None,
    outcome: Outcome | None = None,
    phone_number: str | None = None,
    external_id: str | None = None,
    because: InGroups | None = None,
    limit: int,
    offset: int,
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of a batch's contacts, in the order in which they were added.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        status: only contacts in this status.
        outcome: only contacts with this outcome.
        phone_number: only this number, in any format that an import accepts.
        external_id: only contacts with this id.
        because: only these contacts (`service.explain.contacts_because`).
        limit: the size of the page.
        offset: how many contacts come before the page.
        after: the last entry of the page before; None: the first page.
        sort: one of `contact_views.CONTACTS.sorts`; None: its default.

    Returns:
        The contacts, and how many match in all.

    Raises:
        NotFound: there is no such batch in this workspace.
        InvalidInput: `phone_number` is no number.
    """
    with db.begin() as connection:
        which = filter_of(connection, workspace_id, batch_id, status, outcome, phone_number, external_id, because)
        contacts, total = contact_views.page(connection, which, limit, offset, after, sort)
        return [dict(row._mapping) for row in contacts], total


def list_after(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    position: int,
    limit: int,
    *,
    status: ContactStatus | None = None,
    outcome: Outcome | None = None,
    phone_number: str | None = None,
    external_id: str | None = None,
    because: InGroups | None = None,
) -> list[dict[str, Any]]:
    """Read the contacts of a batch after a position, in the order in which they were added. Nothing is counted.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        position: that of the last contact of the page before; 0: the first page.
        limit: the size of the page.
        status: only contacts in this status.
        outcome: only contacts with this outcome.
        phone_number: only this number, in any format that an import accepts.
        external_id: only contacts with this id.
        because: only these contacts (`service.explain.contacts_because`).

    Returns:
        The contacts, each with its `position`.

    Raises:
        NotFound: there is no such batch in this workspace.
        InvalidInput: `phone_number` is no number.
    """
    with db.begin() as connection:
        contact_filter = filter_of(
            connection, workspace_id, batch_id, status, outcome, phone_number, external_id, because
        )
        return [dict(row._mapping) for row in contact_views.after(connection, contact_filter, position, limit)]


def filter_of(
    connection: Connection,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    status: ContactStatus | None,
    outcome: Outcome | None,
    phone_number: str | None,
    external_id: str | None,
    because: InGroups | None = None,
) -> contact_views.ContactFilter:
    """Make the filter of a list.

    Args:
        connection: an open transaction.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        status: only contacts in this status.
        outcome: only contacts with this outcome.
        phone_number: only this number, in any format that an import accepts.
        external_id: only contacts with this id.
        because: only these contacts (`service.explain.contacts_because`).

    Returns:
        The filter.

    Raises:
        NotFound: there is no such batch in this workspace.
        InvalidInput: `phone_number` is no number.
    """
    settings = batches.import_settings(connection, workspace_id, batch_id)
    if settings is None:
        raise NotFound("No such batch in this workspace")
    number = None if phone_number is None else normalise(phone_number, settings.default_region)
    return contact_views.ContactFilter(batch_id, status, outcome, number, external_id, because)


def show(db: Database, workspace_id: WorkspaceId, batch_id: BatchId, contact_id: ContactId) -> dict[str, Any]:
    """Read one contact.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch of the contact.
        contact_id: the contact.

    Returns:
        The contact with its `calls`, oldest first.

    Raises:
        NotFound: there is no such contact in this batch.
    """
    with db.begin() as connection:
        contact = contact_views.read(connection, workspace_id, batch_id, contact_id)
        if contact is None:
            raise NotFound("No such contact in this batch")
        calls = call_views.of_contact(connection, contact_id)
        return dict(contact._mapping) | {"calls": [dict(call._mapping) for call in calls]}


def _settings_and_rules(
    session: Database, workspace_id: WorkspaceId, batch_id: BatchId
) -> tuple[ImportSettings, CallingRules]:
    with session.begin() as connection:
        return _settings(connection, workspace_id, batch_id), workspaces.rules(connection, workspace_id)


def _settings(
    connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, *, keep: bool = False
) -> ImportSettings:
    """Read the settings of the batch; raises NotFound, and StateConflict where the batch is over."""
    settings = batches.import_settings(connection, workspace_id, batch_id, keep=keep)
    if settings is None:
        raise NotFound("No such batch in this workspace")
    if settings.status in FINAL_BATCH:
        raise contact_import.batch_is_over(settings.status)
    return settings


def _store(
    session: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    settings: ImportSettings,
    rows: Iterable[NewContact | RejectedRow],
    now: DateTime,
    rng: Random,
) -> ImportResult:
    """Stage the contacts as they are read, then store them, unless the batch's settings changed meanwhile."""
    rejections = Rejections()
    contacts = rejections.filter(rows)
    staged = contact_import.stage(session, _with_ids_and_lanes(contacts, settings.respect_contact_timezone, now, rng))
    with session.begin() as connection:
        contact_import.lock_target(connection, batch_id)
        present = _settings(connection, workspace_id, batch_id, keep=True)
        if replace(present, status=settings.status) != settings:
            raise Contended("The batch was changed while its contacts were read; send them again")
        imported = contact_import.store(connection, batch_id, staged)
    return rejections.result(imported)


def _with_ids_and_lanes(
    contacts: Iterable[NewContact], by_zone: bool, now: DateTime, rng: Random
) -> Iterator[tuple[UUID, NewContact, str]]:
    for contact_id, contact in zip(uuid7s(now, rng), contacts, strict=False):
        yield contact_id, contact, zones_lane(zones_of(contact)) if by_zone else ""


def zones_of(contact: NewContact) -> tuple[str, ...]:
    """Find the time zones in which the window must be open for a contact.

    Args:
        contact: the contact.

    Returns:
        Its own zone, or every zone that its number may be in. Empty: the number gives none; that of the batch counts.
    """
    return (contact.timezone,) if contact.timezone else tuple(plausible_timezones(contact.phone_number))
