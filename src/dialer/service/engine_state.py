"""The state of the whole engine, as numbers: overdue work, unsettled call events, quarantine."""

from typing import Any

from pendulum import DateTime

from dialer.store import metrics
from dialer.store.database import Database


def read(db: Database, now: DateTime) -> dict[str, Any]:
    """Read the gauges of the ledger. They cover all workspaces, so they are for the machine's owner.

    Args:
        db: the database.
        now: the current time.

    Returns:
        `inbox_depth` and `inbox_age` (seconds, None: empty), `late` (seconds by which the most overdue batch is late,
        None: no batch is due), `set_aside` (quarantine entries by kind), `trunks_failing`, `calls` by state.
    """
    with db.begin() as connection:
        return metrics.gauges(connection, now)
