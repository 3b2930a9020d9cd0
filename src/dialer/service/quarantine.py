"""Quarantine: what failed because of its own data. Listed here, and retried once the cause is fixed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pendulum import DateTime

from dialer.domain.ids import AttemptId, BatchId
from dialer.errors import DialerError, NotFound, StateConflict, Unavailable
from dialer.store import attempts, inbox, progress, quarantine
from dialer.store.database import Connection, Database
from dialer.store.quarantine import Entry


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of a retry, by the ids of the entries."""

    tried: tuple[int, ...]  #: Left quarantine.
    failed: Mapping[int, str]  #: Stay, with the reason.


def list_entries(db: Database) -> list[dict[str, Any]]:
    """Read all entries.

    Args:
        db: the database.

    Returns:
        The entries, oldest first.
    """
    with db.begin() as connection:
        return [asdict(entry) for entry in quarantine.entries(connection)]


def retry(db: Database, now: DateTime, entry_ids: Sequence[int] | None = None) -> Retried:
    """Retry entries: call events return to the inbox, batches and attempts become due now.

    Args:
        db: the database.
        now: the current time.
        entry_ids: the entries; None: all.

    Returns:
        Which entries left quarantine, and which stay.

    Raises:
        NotFound: an id is unknown; the entries before it have been retried.
    """
    if entry_ids is None:
        with db.begin() as connection:
            entry_ids = [entry.id for entry in quarantine.entries(connection)]
    failed: dict[int, str] = {}
    for entry_id in entry_ids:
        try:
            with db.begin() as connection:
                _retry(connection, entry_id, now)
        except (NotFound, Unavailable):
            raise
        except Exception as error:
            failed[entry_id] = str(error) if isinstance(error, DialerError) else quarantine.fault_of(error).error
    return Retried(tuple(entry_id for entry_id in entry_ids if entry_id not in failed), failed)


def _retry(connection: Connection, entry_id: int, now: DateTime) -> None:
    entry = quarantine.find(connection, entry_id)
    if entry is None:
        raise NotFound(f"Nothing in quarantine has the id {entry_id}")
    match entry.kind:
        case "batch":
            progress.wake(connection, [BatchId(entry.row_id)], now)
        case "attempt":
            attempts.rescue_now(connection, [AttemptId(entry.row_id)])
        case "report":
            _receive_again(connection, entry)
    quarantine.forget(connection, entry.kind, [entry.subject])


def _receive_again(connection: Connection, entry: Entry) -> None:
    if entry.report is not None and entry.trunk_id is not None:
        # Does nothing if the network has sent the event again meanwhile.
        inbox.receive(connection, entry.trunk_id, [entry.report])
    elif entry.report_id is None or not inbox.reopen(connection, [entry.report_id]):
        raise StateConflict("no report was kept with it")
