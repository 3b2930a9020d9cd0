"""Whether Postgres and Redis are fit for use, and what the ledger says about the health of an installation.

Out come sentences for operators. Nothing is repaired here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from alembic.util import CommandError
from pendulum import DateTime
from redis import RedisError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from dialer.errors import Unavailable
from dialer.store import agent_health, inbox, lease_epoch, locks, quarantine, trunk_breaker, trunk_listeners
from dialer.store.database import Database, rows
from dialer.store.leases import Leases
from dialer.store.numbers import WORKSPACE, Trunk, config_of

LATE = timedelta(seconds=60)
SKEW_SECONDS = 2.0


def check_database(db: Database) -> None:
    """Raise Unavailable unless Postgres answers and has the schema that this code needs."""
    with _usable("DIALER_DATABASE_URL", DBAPIError):
        db.check()


def check_leases(leases: Leases) -> None:
    """Raise Unavailable unless Redis answers."""
    # A parameter of the URL that the client does not know is a TypeError when it first connects.
    with _usable("DIALER_REDIS_URL", RedisError, TypeError):
        leases.ping()


def upgrade(db: Database) -> None:
    """Bring the schema to what this code needs; raises Unavailable where that cannot be."""
    try:
        with _usable("DIALER_DATABASE_URL", DBAPIError):
            db.upgrade()
    except CommandError:
        raise Unavailable(
            f"The database is at migration {db.revision()}, which this version of Dialer does not know; "
            "use the version that made it"
        ) from None


@contextmanager
def _usable(setting: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn what a server or its client says at the first contact into one line that names the setting."""
    try:
        yield
    except errors as error:
        said = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise Unavailable(f"{setting} cannot be used: {str(said).strip().splitlines()[0]}") from error


def troubles(connection: Connection, now: DateTime) -> list[str]:
    """List what should not be: work that nobody does, a clock that is not the ledger's, failing trunks, rows that are
    locked, what fails, and what is in quarantine.
    """
    (row,) = rows(
        connection,
        """
        SELECT (SELECT count(*) FROM batch_progress WHERE next_dispatch_at < :late) AS batches,
               (SELECT count(*) FROM inbox WHERE settled_at IS NULL AND received_at < :late) AS reports,
               (SELECT count(*) FROM attempts WHERE rescue_at < :late) AS attempts,
               (SELECT count(*) FROM contacts WHERE status = 'waiting' AND due_at < :late) AS contacts,
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
    )
    found = [f"{count:,} {what} for over a minute: {question}" for count, what, question in overdue if count]
    skew_seconds = abs(float(row.skew_seconds))
    if skew_seconds > SKEW_SECONDS:
        found.append(f"This machine's clock is {skew_seconds:.1f} s from that of Postgres: mend it.")
    return [
        *found,
        *trunk_breaker.sentences(connection),
        *trunk_listeners.sentences(connection),
        *agent_health.sentences(connection),
        *locks.sentences(connection),
        *inbox.sentences(connection),
        *quarantine.sentences(connection),
    ]


def redis_troubles(connection: Connection, leases: Leases) -> list[str]:
    """Say which clocks are wrong, that of Redis and those of processes that do nothing because of it; and whether Redis
    may forget slots.
    """
    (row,) = rows(connection, "SELECT extract(epoch FROM dialer_now()) AS now")
    off_seconds = leases.seconds_since_epoch() - float(row.now)
    found = [
        f"The clock of {process} is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} that of Postgres, so it "
        "does nothing: synchronise it."
        for process, skew in sorted(leases.skews().items())
    ]
    if abs(off_seconds) > SKEW_SECONDS:
        found.append(f"The clock of Redis is {abs(off_seconds):.1f} s from that of Postgres: synchronise it.")
    if policy := leases.eviction_policy():
        found.append(
            f"Redis evicts keys ({policy}), so it may forget who holds a slot: set maxmemory-policy noeviction."
        )
    return found


def leases_are_loaded(connection: Connection, leases: Leases) -> bool:
    """Say whether Redis knows the leases that the ledger counts on; without them nothing is granted."""
    epoch = leases.epoch()
    return epoch is not None and epoch == lease_epoch.current(connection)


def active_trunks(connection: Connection) -> list[tuple[str, Trunk]]:
    """Read the active trunks with their names."""
    found = rows(
        connection,
        f"""
        SELECT id, name, provider, {config_of("t")} AS config, {WORKSPACE} FROM trunks t WHERE status = 'active'
        ORDER BY name
        """,
    )
    return [(row.name, Trunk(row.id, row.provider, row.config, row.workspace)) for row in found]
