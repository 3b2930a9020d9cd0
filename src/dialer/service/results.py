"""The results of a batch: its calls, and the CSV file of its contacts."""

import csv
import io
import json
import re
from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from dialer.domain.ids import BatchId, WorkspaceId
from dialer.domain.outcomes import Outcome
from dialer.domain.states import AttemptState, ContactStatus
from dialer.domain.timezones import in_utc
from dialer.errors import NotFound
from dialer.service import contacts
from dialer.store import call_views, configuration
from dialer.store.contact_groups import InGroups
from dialer.store.contact_views import ContactFilter
from dialer.store.database import Connection, Database

COLUMNS = (
    "contact_id", "phone_number", "name", "external_id", "status", "status_reason", "outcome", "attempts", "created_at",
    "first_attempt_at", "last_attempt_at", "answered_at", "ended_at", "talk_seconds", "from_number", "cause",
    "sip_code", "q850_cause", "sip_call_id", "hung_up_by", "disposition", "opt_out", "callback_at",
    "callback_refused", "finished_at", "variables",
)  # fmt: skip
_ROWS = 500
# Small enough that a slow client can read a chunk before the send timeout.
_CHUNK_BYTES = 65_536
_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
# First characters of what a spreadsheet runs as a formula: https://owasp.org/www-community/attacks/CSV_Injection
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
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of a batch's calls, newest first.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        status: only calls in this state.
        outcome: only calls with this outcome.
        limit: the size of the page.
        offset: how many calls come before the page.
        after: the last entry of the page before; None: the first page.
        sort: one of `call_views.CALLS.sorts`; None: its default.

    Returns:
        The calls, and how many match in all.

    Raises:
        NotFound: there is no such batch in this workspace.
    """
    with db.begin() as connection:
        require(connection, workspace_id, batch_id)
        page, total = call_views.page(connection, batch_id, status, outcome, limit, offset, after, sort)
        return [dict(row._mapping) for row in page], total


def results_csv(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    *,
    status: ContactStatus | None = None,
    outcome: Outcome | None = None,
    phone_number: str | None = None,
    external_id: str | None = None,
    because: InGroups | None = None,
) -> Generator[bytes]:
    """Generate the results as CSV, one row per contact.

    Each page is read in a transaction of its own, so that a slow client keeps none open. A contact that is called
    meanwhile appears as it was when its page was read.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        status: only contacts in this status.
        outcome: only contacts with this outcome.
        phone_number: only this number, in any format that an import accepts.
        external_id: only contacts with this id.
        because: only these contacts (`service.explain.contacts_because`).

    Returns:
        The file in chunks.

    Raises:
        NotFound: there is no such batch in this workspace; raised by this call, before the first chunk.
        InvalidInput: `phone_number` is no number; so is this.
    """
    with db.begin() as connection:
        which = contacts.filter_of(
            connection, workspace_id, batch_id, status, outcome, phone_number, external_id, because
        )
    return _chunks(db, which)


def _chunks(db: Database, which: ContactFilter) -> Generator[bytes]:
    yield _lines([COLUMNS])
    after = 0
    while page := _page(db, which, after):
        lines = _lines([[cell(row._mapping[name]) for name in COLUMNS] for row in page])
        yield from (lines[first : first + _CHUNK_BYTES] for first in range(0, len(lines), _CHUNK_BYTES))
        after = page[-1].position


def _page(db: Database, which: ContactFilter, after: int) -> Sequence[Any]:
    with db.begin() as connection:
        return call_views.results(connection, which, after, _ROWS)


def _lines(table: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(table)
    return text.getvalue().encode()


def cell(value: Any) -> str:
    """Format a value so that a spreadsheet does not run it as a formula; telephone numbers stay unchanged.

    Args:
        value: a value of a result column.

    Returns:
        The text of the cell.
    """
    match value:
        case None:
            return ""
        case datetime():
            return in_utc(value)
        case dict():
            return json.dumps(value, ensure_ascii=False) if value else ""
        case _:
            text = str(value)
            return f"'{text}" if text.startswith(_FORMULA) and not _E164.fullmatch(text) else text


def require(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> None:
    """Check that a batch belongs to a workspace.

    Args:
        connection: an open transaction.
        workspace_id: the workspace of the caller.
        batch_id: the batch.

    Raises:
        NotFound: it does not.
    """
    if configuration.workspace_of(connection, batch_id) != workspace_id:
        raise NotFound("No such batch in this workspace")
