"""Calls over all batches of a workspace, also archived ones: page by page, by index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pendulum import DateTime, datetime
from sqlalchemy import Connection, Row

from dialer.domain.ids import AttemptId, BatchId, TrunkId, WorkspaceId, first_of
from dialer.domain.outcomes import Outcome
from dialer.domain.states import AttemptState
from dialer.store.call_views import COLUMNS, SHOWN
from dialer.store.database import rows

# An id holds the time by its maker's clock, which is less than this off.
ID_CLOCK_SECONDS = 60
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
FIRST_ID = "00000000-0000-0000-0000-000000000000"
# An id holds no time before 1970; after the year 9998, a minute more may be no time that can be computed with.
FIRST_TIME, LAST_TIME = datetime(1971, 1, 1), datetime(9999, 1, 1)
_MATCHES = """
id < :before AND id >= :first {after}
AND (CAST(:statuses AS text[]) IS NULL OR state = ANY(:statuses))
AND (CAST(:outcomes AS text[]) IS NULL OR outcome = ANY(:outcomes))
AND (CAST(:from_number AS text) IS NULL OR from_number = :from_number)
AND (CAST(:trunk AS uuid) IS NULL OR trunk_id = :trunk)
AND (CAST(:since AS timestamptz) IS NULL OR created_at >= :since)
AND (CAST(:until AS timestamptz) IS NULL OR created_at < :until)
"""
# The calls of each batch or contact are read from its index, no more than the page needs. A batch has none from before
# it was created, or from after it was over.
_BATCHES = """
b.workspace_id = :workspace AND (CAST(:batch AS uuid) IS NULL OR b.id = :batch) AND b.id < :before
AND (CAST(:since AS timestamptz) IS NULL OR b.completed_at IS NULL
     OR b.completed_at >= CAST(:since AS timestamptz) - interval '1 minute')
"""
_OF_BATCHES = f"SELECT b.id AS owner_id FROM batches b WHERE {_BATCHES}", "batch_id = o.owner_id"
_OF_NUMBER = (
    f"""
    SELECT c.id AS owner_id FROM batches b JOIN contacts c ON c.batch_id = b.id AND c.phone_number = :number
    WHERE {_BATCHES}
    """,
    "contact_id = o.owner_id",
)


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls to return; None, or no entry: any. `phone_number`: the number called, `from_number`: the outbound
    one, both in E.164. `statuses`, `outcomes`: one of these. `until` is excluded.
    """

    batch_id: BatchId | None = None
    phone_number: str | None = None
    from_number: str | None = None
    statuses: Sequence[AttemptState] = ()
    outcomes: Sequence[Outcome] = ()
    trunk_id: TrunkId | None = None
    since: DateTime | None = None
    until: DateTime | None = None


def page(
    connection: Connection,
    workspace_id: WorkspaceId,
    of: CallFilter,
    after: AttemptId | None,
    limit: int,
    *,
    oldest_first: bool = False,
) -> Sequence[Row[Any]]:
    """Read the newest calls that match, or the oldest; those after this call if it is given."""
    order, sign = ("ASC", ">") if oldest_first else ("DESC", "<")
    matches = _MATCHES.format(after="" if after is None else f"AND id {sign} :after")
    owners, is_owned = _OF_NUMBER if of.phone_number else _OF_BATCHES
    last = LAST_ID if of.until is None else _id_at(of.until, ID_CLOCK_SECONDS)
    first = FIRST_ID if of.since is None else _id_at(of.since, -ID_CLOCK_SECONDS)
    return rows(
        connection,
        f"""
        SELECT {SHOWN} FROM ({owners}) AS o
        CROSS JOIN LATERAL (
            (SELECT {COLUMNS} FROM attempts WHERE {is_owned} AND {matches} ORDER BY id {order} LIMIT :limit)
            UNION ALL
            (SELECT {COLUMNS} FROM attempts_archive WHERE {is_owned} AND {matches} ORDER BY id {order} LIMIT :limit)
        ) AS calls
        ORDER BY calls.id {order} LIMIT :limit
        """,
        workspace=workspace_id,
        batch=of.batch_id,
        number=of.phone_number,
        before=last,
        first=first,
        **({} if after is None else {"after": after}),
        from_number=of.from_number,
        statuses=list(of.statuses) or None,
        outcomes=list(of.outcomes) or None,
        trunk=of.trunk_id,
        since=of.since,
        until=of.until,
        limit=limit,
    )


def _id_at(at: DateTime, seconds: int) -> str:
    return str(first_of(min(max(at, FIRST_TIME), LAST_TIME).add(seconds=seconds)))


def belongs(connection: Connection, workspace_id: WorkspaceId, attempt_id: AttemptId) -> bool:
    """Return whether the workspace has this call."""
    query = """
    SELECT 1 FROM (
        SELECT batch_id FROM attempts WHERE id = :id UNION ALL SELECT batch_id FROM attempts_archive WHERE id = :id
    ) AS a JOIN batches b ON b.id = a.batch_id WHERE b.workspace_id = :workspace
    """
    return bool(rows(connection, query, id=attempt_id, workspace=workspace_id))
