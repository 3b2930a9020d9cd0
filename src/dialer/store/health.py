"""Finds problems of an installation in the ledger and in Redis.

Returns sentences for operators. Nothing is repaired here.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pendulum import DateTime
from sqlalchemy import Connection

from dialer.domain.trunk import Trunk
from dialer.store import agent_health, inbox, lease_epoch, locks, quarantine, trunk_breaker, trunk_listeners
from dialer.store.database import rows
from dialer.store.numbers import WORKSPACE, config_of

if TYPE_CHECKING:
    from dialer.store.leases import Leases

LATE = timedelta(seconds=60)
SKEW_SECONDS = 2.0


def troubles(connection: Connection, now: DateTime) -> list[str]:
    """List what is wrong according to the ledger.

    Overdue work, a wrong clock, failing trunks and agents, locked rows, failing call events, quarantine.
    """
    (row,) = rows(
        connection,
        """
        SELECT (SELECT count(*) FROM batch_progress WHERE next_dispatch_at < :late) AS batches,
               (SELECT count(*) FROM inbox WHERE settled_at IS NULL AND received_at < :late) AS reports,
               (SELECT count(*) FROM attempts WHERE rescue_at < :late) AS attempts,
               (SELECT count(*) FROM contacts w WHERE status = 'waiting' AND due_at < :late
                AND NOT EXISTS (SELECT 1 FROM bulk_changes u WHERE u.batch_id = w.batch_id)) AS contacts,
               (SELECT count(*) FROM bulk_changes WHERE due_at < :late) AS bulk_changes,
               (SELECT sum(cardinality(phone_numbers)) FROM suppressed_numbers WHERE due_at < :late) AS suppressed,
               extract(epoch FROM dialer_now() - :now) AS skew_seconds
        """,
        late=now - LATE,
        now=now,
    )
    overdue = (
        (row.batches, "batches have been due", "is a beat running, and a worker?"),
        (row.reports, "call reports have not been settled", "is a worker running?"),
        (row.attempts, "attempts have waited for rescue", "are a beat and a worker running?"),
        (row.contacts, "contacts have waited for their retry", "are a beat and a worker running?"),
        (row.bulk_changes, "batches have had contacts to end or to remove", "are a beat and a worker running?"),
        (row.suppressed, "suppressed numbers have had contacts to skip", "are a beat and a worker running?"),
    )
    sentences = [f"{count:,} {what} for over a minute: {question}" for count, what, question in overdue if count]
    skew_seconds = abs(float(row.skew_seconds))
    if skew_seconds > SKEW_SECONDS:
        sentences.append(f"This machine's clock is {skew_seconds:.1f} s from that of Postgres: synchronise it")
    return [
        *sentences,
        *_database_settings(connection),
        *trunk_breaker.sentences(connection),
        *trunk_listeners.sentences(connection),
        *agent_health.sentences(connection),
        *locks.sentences(connection),
        *inbox.sentences(connection),
        *quarantine.sentences(connection),
    ]


def redis_troubles(connection: Connection, leases: "Leases") -> list[str]:
    """List wrong clocks, of Redis and of processes that stopped because of theirs, and a policy that evicts slots."""
    (row,) = rows(connection, "SELECT extract(epoch FROM dialer_now()) AS now")
    skew_seconds = leases.seconds_since_epoch() - float(row.now)
    sentences = [
        f"The clock of {process} is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} that of Postgres, so it "
        "does nothing: synchronise it"
        for process, skew in sorted(leases.skews().items())
    ]
    if abs(skew_seconds) > SKEW_SECONDS:
        sentences.append(f"The clock of Redis is {abs(skew_seconds):.1f} s from that of Postgres: synchronise it")
    return [*sentences, *_redis_settings(leases.server_info())]


def _redis_settings(info: Mapping[str, Any]) -> Iterator[str]:
    """Say what keeps Redis from taking writes, or lets it lose them. `info`: as INFO says it."""
    limit, policy = int(info.get("maxmemory", 0)), str(info.get("maxmemory_policy", "noeviction"))
    if limit and policy != "noeviction":
        yield f"Redis evicts keys ({policy}), so it may lose slots: set maxmemory-policy noeviction"
    elif limit and int(info["used_memory"]) >= limit:
        yield f"The memory of Redis is full ({limit:,} bytes), so no call starts: raise maxmemory"
    if info.get("role") == "slave":
        yield "Redis is a replica, which takes no writes: set DIALER_REDIS_URL to the primary"


def _database_settings(connection: Connection) -> Iterator[str]:
    """Say what settings of Postgres keep it from doing what Dialer asks."""
    (row,) = rows(
        connection,
        """
        SELECT pg_is_in_recovery() AS is_replica, current_setting('transaction_read_only') = 'on' AS is_read_only,
               current_setting('transaction_timeout', true) AS transaction_timeout,
               (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
               CAST(current_setting('max_connections') AS integer)
               - CAST(current_setting('superuser_reserved_connections') AS integer) AS connections_limit
        """,
    )
    if row.is_replica:
        yield "Postgres is a replica, which takes no writes: set DIALER_DATABASE_URL to the primary"
    elif row.is_read_only:
        yield "Postgres takes no writes: switch default_transaction_read_only off, for the database and its user"
    if row.transaction_timeout not in (None, "0"):
        yield (
            f"Postgres ends sessions whose transaction takes longer than {row.transaction_timeout} "
            "(transaction_timeout): set it to 0 for the user of Dialer, and restart the processes"
        )
    if row.connections >= row.connections_limit:
        yield (
            f"Every connection of Postgres is in use ({row.connections} of {row.connections_limit}): raise "
            "max_connections, or run fewer processes"
        )


def leases_are_loaded(connection: Connection, leases: "Leases") -> bool:
    """Return whether Redis has the leases of the ledger's epoch; without them no slot is granted."""
    epoch = leases.epoch()
    return epoch is not None and epoch == lease_epoch.current(connection)


def active_trunks(connection: Connection) -> list[tuple[str, Trunk]]:
    """Read the active trunks with their names."""
    trunks = rows(
        connection,
        f"""
        SELECT id, name, provider, {config_of("t")} AS config, {WORKSPACE} FROM trunks t WHERE status = 'active'
        ORDER BY name
        """,
    )
    return [(row.name, Trunk(row.id, row.provider, row.config, row.workspace)) for row in trunks]
