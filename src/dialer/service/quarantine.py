"""What an operator can ask about quarantine: what is in it, and to try it again once its cause is mended."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pendulum import DateTime

from dialer.domain.ids import AttemptId, BatchId
from dialer.errors import NotFound
from dialer.store import attempts, inbox, progress, quarantine
from dialer.store.database import Connection, Database
from dialer.store.quarantine import Entry


@dataclass(frozen=True, slots=True)
class Retried:
    """`tried`: entries that left quarantine. `lost`: those that stay, because no report was kept with them."""

    tried: tuple[int, ...]
    lost: tuple[int, ...]


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
    tried = [entry_id for entry_id in entry_ids if _retry(db, entry_id, now)]
    return Retried(tuple(tried), tuple(entry_id for entry_id in entry_ids if entry_id not in tried))


def _retry(db: Database, entry_id: int, now: DateTime) -> bool:
    with db.begin() as connection:
        entry = quarantine.find(connection, entry_id)
        if entry is None:
            raise NotFound(f"Nothing in quarantine has the id {entry_id}")
        if not _try_again(connection, entry, now):
            return False
        quarantine.forget(connection, entry.kind, [entry.subject])
        return True


def _try_again(connection: Connection, entry: Entry, now: DateTime) -> bool:
    match entry.kind:
        case "batch":
            progress.wake(connection, [BatchId(entry.row_id)], now)
        case "attempt":
            attempts.look_at(connection, [AttemptId(entry.row_id)])
        case "report":
            if entry.report is None or entry.trunk_id is None:
                return bool(inbox.reopen(connection, [entry.report_id] if entry.report_id else []))
            # Where it is in the inbox by now, since its network has sent it again, this changes nothing.
            inbox.receive(connection, entry.trunk_id, [entry.report])
    return True
