"""What an operator can ask about quarantine: what is in it, and to try it again once its cause is mended."""

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
    """`tried`: entries that left quarantine. `failed`: those that stay, each with the reason."""

    tried: tuple[int, ...]
    failed: Mapping[int, str]


def listed(db: Database) -> list[dict[str, Any]]:
    """Read all entries, the oldest first."""
    with db.begin() as connection:
        return [asdict(entry) for entry in quarantine.entries(connection)]


def retry(db: Database, now: DateTime, entry_ids: Sequence[int] | None = None) -> Retried:
    """Try these entries again, or all: reports go back into the inbox, batches and attempts are due now.

    Raises NotFound for an id that is not there; the entries before it have left.
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
            attempts.look_at(connection, [AttemptId(entry.row_id)])
        case "report":
            _receive_again(connection, entry)
    quarantine.forget(connection, entry.kind, [entry.subject])


def _receive_again(connection: Connection, entry: Entry) -> None:
    if entry.report is not None and entry.trunk_id is not None:
        # Where it is in the inbox by now, since its network has sent it again, this changes nothing.
        inbox.receive(connection, entry.trunk_id, [entry.report])
    elif entry.report_id is None or not inbox.reopen(connection, [entry.report_id]):
        raise StateConflict("no report was kept with it")
