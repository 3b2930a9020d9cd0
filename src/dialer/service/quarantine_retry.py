"""Retries what is in quarantine, once the cause is fixed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from pendulum import DateTime

from dialer.domain.ids import AttemptId, BatchId, KeyId, WorkspaceId
from dialer.errors import DialerError, NotFound, StateConflict, Unavailable
from dialer.store import attempts, inbox, progress, quarantine
from dialer.store.database import Connection, Database
from dialer.store.quarantine import Entry

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of a retry, by the ids of the entries."""

    tried: tuple[int, ...]  #: Left quarantine.
    failed: Mapping[int, str]  #: Stay, with the reason.


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
                entry = quarantine.find(connection, entry_id)
                _retry(connection, entry, now, missing=f"Nothing in quarantine has the id {entry_id}")
        except (NotFound, Unavailable):
            raise
        except Exception as error:
            failed[entry_id] = str(error) if isinstance(error, DialerError) else quarantine.fault_of(error).error
    return Retried(tuple(entry_id for entry_id in entry_ids if entry_id not in failed), failed)


def retry_of(db: Database, workspace_id: WorkspaceId, entry_id: int, now: DateTime, *, by: KeyId) -> None:
    """Retry one entry of a workspace, as `retry` does.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        entry_id: the entry.
        now: the current time.
        by: the key of the caller, for the log.

    Raises:
        NotFound: there is no such entry in this workspace.
        StateConflict: no report was kept with it.
    """
    with db.begin() as connection:
        entry = quarantine.find_of(connection, workspace_id, entry_id)
        _retry(connection, entry, now, missing="No such entry in this workspace")
    log.info("quarantine retried", entry_id=entry_id, workspace_id=str(workspace_id), key_id=str(by))


def _retry(connection: Connection, entry: Entry | None, now: DateTime, *, missing: str) -> None:
    if entry is None:
        raise NotFound(missing)
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
