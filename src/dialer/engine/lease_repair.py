"""Lease repair: Redis is compared with the ledger, and loaded from it where it has lost its memory. A part of rescue.

The ledger decides: a lease is freed only if its attempt is over or was never written, and added only for an attempt
that is live (P2).
"""

from collections.abc import Sequence
from datetime import date
from random import Random

import structlog
from pendulum import UTC, DateTime

from dialer.domain.ids import uuid7
from dialer.domain.slots import Lease
from dialer.domain.states import LIVE_ATTEMPT, AttemptState
from dialer.domain.timeouts import LEASE_SECONDS
from dialer.engine.context import EngineContext
from dialer.store import lease_epoch, lease_ledger, numbers
from dialer.store.database import Connection

LEASE_AGAIN_SECONDS = 60

log = structlog.get_logger()


def rebuild_if_lost(context: EngineContext, now: DateTime, rng: Random) -> bool:
    """Load Redis from the ledger if its epoch marker is gone or is not the ledger's.

    Under the lock no claim is between its check of the epoch and its commit, so each attempt is either read here or was
    granted after the rebuild (P2). A crash in between leaves two different epochs, and the next rescue begins again.
    """
    with context.db.begin() as connection:
        if _is_loaded(context, connection):
            return False
    epoch = uuid7(now, rng)
    with context.db.begin() as connection:
        lease_epoch.stop_claims(connection)
        if _is_loaded(context, connection):
            return False
        lease_epoch.begin(connection, epoch)
        counted = lease_ledger.counted(connection, now)
        context.leases.rebuild(
            now,
            epoch,
            live=lease_ledger.live(connection),
            counted=counted,
            cursors=lease_ledger.last_numbers(connection),
            capped=numbers.capped(connection),
            days=_days(now),
        )
    _put_back_refused(context, counted)
    log.warning("leases rebuilt from the ledger", epoch=str(epoch))
    return True


def _is_loaded(context: EngineContext, connection: Connection) -> bool:
    """Say whether Redis was loaded under the epoch of the ledger."""
    epoch = lease_epoch.current(connection)
    return epoch is not None and context.leases.epoch() == epoch


def _days(now: DateTime) -> list[date]:
    """List the days whose caps Redis keeps: today and tomorrow, so that calls go on at midnight without a rescue."""
    today = now.in_timezone(UTC).date()
    return [today, today.add(days=1)]


def load_new_caps(context: EngineContext, now: DateTime) -> None:
    """Load the calls of numbers whose daily cap is new, so that they can be used.

    Under the lock no claim is between its check of a number's version and its commit: what was granted before the cap
    was set is either read here, or void (P2).
    """
    with context.db.begin() as connection:
        capped = numbers.capped(connection)
    if not context.leases.unloaded(capped, _days(now)):
        return
    with context.db.begin() as connection:
        lease_epoch.stop_claims(connection)
        capped = numbers.capped(connection)
        counted = context.leases.count_days(lease_ledger.counted(connection, now))
        context.leases.mark_loaded(capped, _days(now))
    _put_back_refused(context, counted)


def free_orphans(context: EngineContext, now: DateTime) -> int:
    """Compare overdue leases with the ledger: those of live attempts are renewed, the others are freed."""
    overdue = context.leases.overdue(now)
    if not overdue:
        return 0
    with context.db.begin() as connection:
        leases = lease_ledger.of_attempts(connection, overdue)
    live, ended, refused = (
        [lease for lease, state in leases if state in states]
        for states in (LIVE_ATTEMPT, {AttemptState.ENDED}, {AttemptState.REFUSED})
    )
    context.leases.renew([lease.attempt_id for lease in live], now.add(seconds=LEASE_AGAIN_SECONDS))
    context.leases.release(ended)
    context.leases.put_back(refused)
    context.leases.forget(sorted(set(overdue) - {lease.attempt_id for lease, _ in leases}))
    return len(overdue) - len(live)


def restore_missing(context: EngineContext, now: DateTime) -> int:
    """Give live attempts back the leases that Redis has lost unnoticed, as after a failover (P2).

    A missing lease was lost, or was released because its attempt has just ended: the second read tells which.
    """
    with context.db.begin() as connection:
        live = lease_ledger.live(connection)
        counted = lease_ledger.counted(connection, now)
    missing = context.leases.missing(live)
    if missing:
        with context.db.begin() as connection:
            missing = lease_ledger.live(connection, [lease.attempt_id for lease in missing])
        context.leases.restore(missing, now.add(seconds=LEASE_SECONDS))
    _put_back_refused(context, context.leases.count_days(counted))
    return len(missing)


def _put_back_refused(context: EngineContext, counted: Sequence[Lease]) -> None:
    """Give back the day's allowance of those of these attempts that were refused after they were read, and before they
    were counted: nothing else would, and the number would make fewer calls than its cap allows (P6).
    """
    if counted:
        with context.db.begin() as connection:
            leases = lease_ledger.of_attempts(connection, [lease.attempt_id for lease in counted])
        context.leases.put_back([lease for lease, state in leases if state is AttemptState.REFUSED])
