"""What came of a batch: its calls, and the table of its results."""

import csv
import io
import json
import re
from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any

from dialer.domain.ids import BatchId, WorkspaceId
from dialer.domain.outcomes import Outcome
from dialer.domain.states import AttemptState
from dialer.errors import NotFound
from dialer.store import call_views, configuration
from dialer.store.database import Connection, Database

COLUMNS = (
    "contact_id", "phone_number", "name", "external_id", "status", "status_reason", "outcome", "attempts", "created_at",
    "first_attempt_at", "last_attempt_at", "answered_at", "ended_at", "talk_seconds", "from_number", "cause",
    "sip_code", "q850_cause", "sip_call_id", "hung_up_by", "finished_at", "variables",
)  # fmt: skip
_ROWS = 500
# Clients have a time in which they must read a piece.
_PIECE_BYTES = 65_536
_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
# What a spreadsheet takes for a formula: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def list_calls(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    *,
    status: AttemptState | None = None,
    outcome: Outcome | None = None,
    limit: int,
    offset: int,
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of a batch's calls, newest first; and how many there are."""
    with db.begin() as connection:
        require(connection, workspace_id, batch_id)
        found, total = call_views.page(connection, batch_id, status, outcome, limit, offset)
        return [dict(row._mapping) for row in found], total


def results_csv(db: Database, workspace_id: WorkspaceId, batch_id: BatchId) -> Generator[bytes]:
    """Return the results as CSV, in pieces: a row a contact. Raises NotFound before the first piece.

    Each piece is read in a transaction of its own, so that a client that reads slowly holds none open. A contact that
    is called meanwhile has its row as it was when that was read.
    """
    with db.begin() as connection:
        require(connection, workspace_id, batch_id)
    return _pieces(db, batch_id)


def _pieces(db: Database, batch_id: BatchId) -> Generator[bytes]:
    yield _lines([COLUMNS])
    after = 0
    while found := _page(db, batch_id, after):
        lines = _lines([[cell(row._mapping[name]) for name in COLUMNS] for row in found])
        yield from (lines[first : first + _PIECE_BYTES] for first in range(0, len(lines), _PIECE_BYTES))
        after = found[-1].position


def _page(db: Database, batch_id: BatchId, after: int) -> Sequence[Any]:
    with db.begin() as connection:
        return call_views.results(connection, batch_id, after, _ROWS)


def _lines(table: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(table)
    return text.getvalue().encode()


def cell(value: Any) -> str:
    """Write a value so that a spreadsheet shows it and never runs it; telephone numbers stay as they are."""
    match value:
        case None:
            return ""
        case datetime():
            return value.isoformat()
        case dict():
            return json.dumps(value, ensure_ascii=False) if value else ""
        case _:
            text = str(value)
            return f"'{text}" if text.startswith(_FORMULA) and not _E164.fullmatch(text) else text


def require(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> None:
    """Raise NotFound unless the batch is of this workspace."""
    if configuration.workspace_of(connection, batch_id) != workspace_id:
        raise NotFound("No such batch in this workspace")
