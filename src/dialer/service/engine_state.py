"""The state of the whole engine: overdue work, unsettled call events, quarantine, processes; and what is wrong.

It covers all workspaces, so it is for the machine's owner.
"""

from typing import Any

from pendulum import DateTime

from dialer.engine.context import EngineContext
from dialer.errors import Unavailable
from dialer.store import health, metrics, trunk_listeners
from dialer.store.database import Database
from dialer.store.process_metrics import ProcessMetrics


def read(db: Database, now: DateTime) -> dict[str, Any]:
    """Read the gauges of the ledger.

    Args:
        db: the database.
        now: the current time.

    Returns:
        `inbox_depth` and `inbox_age` (seconds, None: empty), `late` (seconds by which the most overdue batch is late,
        None: no batch is due), `set_aside` (quarantine entries by kind), `trunks_failing`, `calls` by state.
    """
    with db.begin() as connection:
        return metrics.gauges(connection, now)


def processes(db: Database, measures: ProcessMetrics) -> list[dict[str, Any]]:
    """List the processes that were seen within the last hour.

    Args:
        db: the database, in which listeners are recorded.
        measures: of all other processes.

    Returns:
        Each with `kind` (api, beat, listener, worker), `name`, `seconds_ago`, and of a listener `trunks`: on how many
        it receives the network's events now.
    """
    with db.begin() as connection:
        listeners = trunk_listeners.seen(connection)
    seen: list[dict[str, Any]] = []
    for process, seconds_ago in sorted(measures.processes().items()):
        kind, _, name = process.partition(" ")
        if kind == "listener":  # below, with its trunks
            continue
        seen.append({"kind": kind, "name": name, "seconds_ago": seconds_ago, "trunks": None})
    return seen + [
        {"kind": "listener", "name": str(row.listener_id), "seconds_ago": float(row.seconds_ago), "trunks": row.trunks}
        for row in listeners
    ]


def queues(broker_url: str, names: tuple[str, ...]) -> dict[str, int]:
    """Count the tasks that wait for a worker.

    Args:
        broker_url: Celery's broker.
        names: the queues.

    Returns:
        The number of tasks by queue; empty where the broker is not Redis, or is away.
    """
    return metrics.queue_depths(broker_url, names)


def troubles(context: EngineContext, now: DateTime) -> list[str]:
    """List what is wrong according to Postgres and Redis. No network is asked.

    Args:
        context: what the engine works with.
        now: the current time, by this machine's clock.

    Returns:
        A sentence for each: overdue work, clocks, failing trunks and agents, locked rows, reports that cannot be
        settled, quarantine, lost leases.
    """
    with context.db.begin() as connection:
        sentences = health.troubles(connection, now)
        try:
            sentences += health.redis_troubles(connection, context.leases)
            if not health.leases_are_loaded(connection, context.leases):
                sentences.append(
                    "Redis has no leases, or has them from before it was restarted: no calls start until a worker's "
                    "rescue has rebuilt them"
                )
        except Unavailable as error:
            sentences.append(str(error))
    return sentences
