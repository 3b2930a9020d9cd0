"""Figures of a batch's latest calls, for charts and tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pendulum import from_timestamp

from dialer.domain.ids import BatchId, WorkspaceId
from dialer.service import results
from dialer.store import call_statistics
from dialer.store.database import Database

MOST_CALLS = 20_000
# What is shown of a number that was deleted.
UNLIMITED = {"max_concurrent_calls": None, "max_calls_per_day": None, "calls_now": 0, "calls_today": None}


def of_batch(
    db: Database, workspace_id: WorkspaceId, batch_id: BatchId, most_calls: int = MOST_CALLS
) -> dict[str, Any]:
    """Compute the figures of the latest calls of a batch.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        most_calls: how many calls are read at most; older ones are left out.

    Returns:
        `calls` (attempts that were counted), `since` (the first of them), `is_complete` (none was left out),
        `outcomes` (with `refused` and `in_progress`), `numbers` (with their limits, and what all batches use of
        them now), `series` (one point per `interval_seconds`) and
        `hours` (by weekday and hour of the batch's zone).

    Raises:
        NotFound: there is no such batch in this workspace.
    """
    with db.begin() as connection:
        results.require(connection, workspace_id, batch_id)
        row = call_statistics.of_batch(connection, batch_id, most_calls)
        called_from = [number["phone_number"] for number in row.numbers]
        room = call_statistics.room_of_numbers(connection, batch_id, called_from)
    by_number = {number.phone_number: dict(number._mapping) for number in room}
    numbers = [UNLIMITED | number | by_number.get(number["phone_number"], {}) for number in row.numbers]
    figures = dict(row._mapping) | {"numbers": numbers}
    is_complete = row.calls < most_calls
    return figures | {"is_complete": is_complete, "series": list(_series(row.series, row.interval_seconds))}


def _series(moves: Sequence[Mapping[str, Any]], seconds: int) -> Iterator[dict[str, Any]]:
    """Yield a point for every interval: how many calls started and ended in it, and were in progress at its end.

    Intervals in which nothing happened are left out, except the one before and the one after something did.
    """
    in_progress, last_at = 0, None
    for move in moves:
        for at in _quiet(last_at, move["at"], seconds):
            yield _point(at, in_progress)
        in_progress += move["started"] - move["ended"]
        last_at = move["at"]
        yield _point(last_at, in_progress, move["started"], move["ended"], move["answered"])


def _quiet(last_at: int | None, at: int, seconds: int) -> list[int]:
    """Return the first and the last interval between two in which something happened."""
    if last_at is None or at - last_at <= seconds:
        return []
    return sorted({last_at + seconds, at - seconds})


def _point(at: int, in_progress: int, started: int = 0, ended: int = 0, answered: int = 0) -> dict[str, Any]:
    return {
        "at": from_timestamp(at),
        "in_progress": in_progress,
        "started": started,
        "ended": ended,
        "answered": answered,
    }
