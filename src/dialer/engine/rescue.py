"""Rescue: the attempts nobody reported on, the leases nobody holds, and Redis when it has lost its memory.

It asks the network by our attempt id and goes by its word. Where there is no word, an attempt is `unknown` only after
its call can no longer be up. A slot is never freed without evidence from the ledger.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from random import Random

import structlog
from pendulum import UTC, DateTime

from dialer.domain.call import EventKind, OtherAttempts
from dialer.domain.ids import AttemptId, BatchId, uuid7
from dialer.domain.outcomes import Outcome
from dialer.domain.states import LIVE_ATTEMPT, AttemptState
from dialer.domain.timeouts import CALL_SECONDS, GIVE_UP_SECONDS, RESCUE_AFTER
from dialer.engine import settle
from dialer.engine.context import EngineContext
from dialer.engine.settle import End
from dialer.errors import Contended
from dialer.providers.base import Absent, Candidates, LookupFailed, LookupResult, NotFoundNow, Seen
from dialer.store import attempts, inbox, lease_epoch, lease_ledger, locks, numbers, quarantine
from dialer.store.attempts import Overdue
from dialer.store.database import Connection
from dialer.store.lease_requests import LOOK_AFTER_SECONDS

PAGE = 200
LEASE_AGAIN_SECONDS = 60
ASK_AGAIN_SECONDS = 30
TELL_AGAIN_SECONDS = 3600

# Older than this, in seconds, the request of a reserved attempt cannot leave any more: its permit is refused (P1).
PLACED_OR_NEVER = RESCUE_AFTER[AttemptState.RESERVED]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RescueReport:
    """`rebuilt`: Redis was loaded anew. `orphans`: leases freed. `restored`: leases that Redis had lost.
    `asked`, `closed`: overdue attempts, and those that are over now. `freed`: batches for dispatch. `outcomes`: how
    attempts ended.
    """

    rebuilt: bool
    orphans: int
    restored: int
    asked: int
    closed: int
    freed: tuple[BatchId, ...]
    outcomes: Mapping[str, int] = field(default_factory=dict)


def rescue(context: EngineContext, now: DateTime, rng: Random) -> RescueReport:
    """Repair what crashes and silence have left behind. Safe to run twice, also at once."""
    try:
        rebuilt = _rebuild_if_lost(context, now, rng)
        _load_new_caps(context, now)
    except Contended as error:
        # A worker was stopped in the middle of a claim. Nothing is granted until then; the rest need not wait for it.
        log.warning("leases are not rebuilt yet", reason=str(error))
        rebuilt = False
    context.leases.remind(now.add(seconds=LOOK_AFTER_SECONDS))
    orphans = _free_orphans(context, now)
    restored = _restore_missing(context, now)
    tell_of_locks(context)
    _settle_left_behind(context)
    hang_up(context, rng)
    asked, done = _ask_networks(context, now)
    outcomes = sum((Counter(one.outcomes) for one in done), Counter[str]())
    freed = tuple(dict.fromkeys(of for one in done for of in one.freed))
    return RescueReport(rebuilt, orphans, restored, asked, sum(one.ended for one in done), freed, outcomes)


def hang_up(context: EngineContext, rng: Random, batch_id: BatchId | None = None) -> int:
    """End calls in progress of batches that were cancelled with them (or of one); return how many were asked for.

    Repeated until none is left: a call may have been on its way when its batch was cancelled, and a process that was
    asked to hang up may have died. The ends are reported and settled as always. Where there are many, chance decides
    whose turn it is, so that a network which does not listen cannot keep the others' from being ended.
    """
    with context.db.begin() as connection:
        calls = attempts.to_hang_up(connection, batch_id)
    some = rng.sample(calls, min(PAGE, len(calls)))
    if some:
        context.providers.hang_up_all(some)
    return len(some)


def _rebuild_if_lost(context: EngineContext, now: DateTime, rng: Random) -> bool:
    """Load Redis from the ledger if its marker is gone or is not the ledger's.

    Under the lock no claim is between its look at the epoch and its commit, so each attempt is either read here, or
    was granted after the rebuild. A crash in between leaves two different epochs, and the next rescue begins again.
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
        context.leases.rebuild(
            now,
            epoch,
            live=lease_ledger.live(connection),
            counted=lease_ledger.counted(connection, now),
            cursors=lease_ledger.last_numbers(connection),
            capped=numbers.capped(connection),
            days=_days(now),
        )
    log.warning("leases rebuilt from the ledger", epoch=str(epoch))
    return True


def _is_loaded(context: EngineContext, connection: Connection) -> bool:
    """Say whether Redis was loaded under the epoch that counts."""
    good = lease_epoch.current(connection)
    return good is not None and context.leases.epoch() == good


def _days(now: DateTime) -> list[date]:
    """List the days whose caps Redis keeps: today and tomorrow, so that calls go on at midnight without a rescue."""
    today = now.in_timezone(UTC).date()
    return [today, today.add(days=1)]


def _load_new_caps(context: EngineContext, now: DateTime) -> None:
    """Load the calls of numbers whose daily cap is new, so that they can be used.

    Under the lock no claim is between its look at a number's version and its commit: what was granted before the cap
    was set is either read here, or void.
    """
    with context.db.begin() as connection:
        capped = numbers.capped(connection)
    if not context.leases.unloaded(capped, _days(now)):
        return
    with context.db.begin() as connection:
        lease_epoch.stop_claims(connection)
        capped = numbers.capped(connection)
        context.leases.count_days(lease_ledger.counted(connection, now))
        context.leases.mark_loaded(capped, _days(now))


def _free_orphans(context: EngineContext, now: DateTime) -> int:
    """Compare overdue leases with the ledger: those of live attempts go on, the others are freed."""
    overdue = context.leases.overdue(now)
    if not overdue:
        return 0
    with context.db.begin() as connection:
        found = lease_ledger.of_attempts(connection, overdue)
    live, ended, refused = (
        [lease for lease, state in found if state in states]
        for states in (LIVE_ATTEMPT, {AttemptState.ENDED}, {AttemptState.REFUSED})
    )
    context.leases.renew([lease.attempt_id for lease in live], now.add(seconds=LEASE_AGAIN_SECONDS))
    context.leases.release(ended)
    context.leases.put_back(refused)
    context.leases.forget(sorted(set(overdue) - {lease.attempt_id for lease, _ in found}))
    return len(overdue) - len(live)


def _restore_missing(context: EngineContext, now: DateTime) -> int:
    """Give live attempts back the leases that Redis has lost without noticing, as after a failover.

    A lease that is missing was lost, or released after its attempt had ended in the ledger: the second look tells.
    """
    with context.db.begin() as connection:
        live = lease_ledger.live(connection)
        counted = lease_ledger.counted(connection, now)
    missing = context.leases.missing(live)
    if missing:
        with context.db.begin() as connection:
            missing = lease_ledger.live(connection, [lease.attempt_id for lease in missing])
        context.leases.restore(missing, now.add(seconds=LOOK_AFTER_SECONDS))
    context.leases.count_days(counted)
    return len(missing)


def tell_of_locks(context: EngineContext, held_seconds: float = locks.HELD_SECONDS) -> None:
    """Log once, by whichever worker comes first, which session has kept rows locked for longer than any step would."""
    with context.db.begin() as connection:
        found = locks.holders(connection, held_seconds)
    for holder in found:
        if context.leases.ask_once(f"locks:{holder.name}", TELL_AGAIN_SECONDS):
            log.warning("rows are locked by a session that does not end its transaction", reason=holder.sentence)


def _settle_left_behind(context: EngineContext) -> None:
    """Have reports settled that a worker of the previous release closed when they failed."""
    with context.db.begin() as connection:
        ids = inbox.left_behind(connection, PAGE)
        if ids:
            inbox.reopen(connection, ids)
            quarantine.forget(connection, "report", ids)
            log.info("reports of the previous release are settled after all", count=len(ids))


def _ask_networks(context: EngineContext, now: DateTime) -> tuple[int, list[settle.Closed]]:
    """Look up the overdue attempts and move them on by what the networks say."""
    again_at = now.add(seconds=ASK_AGAIN_SECONDS)
    with context.db.begin() as connection:
        overdue = attempts.take_overdue(connection, now, again_at, PAGE)
    if not overdue:
        return 0, []
    # The ledger knows of these that their requests have not left, whatever their network can say.
    unsent = {of.id: End("never_placed") for of in overdue if of.is_unsent and _age(of, now) >= PLACED_OR_NEVER}
    overdue = [attempt for attempt in overdue if attempt.id not in unsent]
    sightings = _identified(
        context, context.providers.look_up_all([(attempt.trunk, attempt.call) for attempt in overdue])
    )
    _note(context, sightings)
    told = {of: said.events for of, said in sightings.items() if isinstance(said, Seen)}
    followed = settle.follow_networks(context, told, now)
    too_long = [attempt for attempt in overdue if attempt.is_too_long and _is_up(sightings[attempt.id])]
    context.providers.hang_up_all([(attempt.trunk, attempt.call) for attempt in too_long])
    ends = {attempt.id: end for attempt in overdue if (end := _end(attempt, sightings[attempt.id], now))}
    closed = settle.close(context, unsent | ends, now)
    with context.db.begin() as connection:
        attempts.look_later(connection, [of for of, said in sightings.items() if _is_up(said)])
    return len(overdue) + len(unsent), [followed, closed]


def _identified(context: EngineContext, sightings: Mapping[AttemptId, LookupResult]) -> dict[AttemptId, LookupResult]:
    """Tell which call is an attempt's own, where its network has found calls by their numbers and time alone.

    The ledger is read after the network: whatever call the network knew then, its attempt is in the ledger by now.
    """
    unsure = {of: said for of, said in sightings.items() if isinstance(said, Candidates)}
    if not unsure:
        return dict(sightings)
    with context.db.begin() as connection:
        others = attempts.others(connection, list(unsure))
    return {**sightings, **{of: _own(said, others.get(of)) for of, said in unsure.items()}}


def _own(said: Candidates, others: OtherAttempts | None) -> LookupResult:
    """Leave out other attempts' calls: to take one of them for this attempt's would lose both calls' ends (P5)."""
    if others is None:
        return LookupFailed("the call has been reported meanwhile")
    left = [call for call in said.calls if call.provider_call_id not in others.call_ids]
    if not left:
        return said.otherwise
    if len(left) > 1 or others.is_one_unknown:
        return LookupFailed("ambiguous: there are calls of that moment which could be another attempt's")
    return left[0]


def _note(context: EngineContext, sightings: Mapping[AttemptId, LookupResult]) -> None:
    """Write which calls there are, and which there are not (any more)."""
    with context.db.begin() as connection:
        placed = [(of, said.provider_call_id) for of, said in sightings.items() if isinstance(said, Seen)]
        attempts.mark_placed(connection, placed, skip_locked=True)
        attempts.mark_gone(connection, [of for of, said in sightings.items() if isinstance(said, NotFoundNow)])


def _is_up(sighting: LookupResult) -> bool:
    return isinstance(sighting, Seen) and all(event.kind is not EventKind.ENDED for event in sighting.events)


def _age(attempt: Overdue, now: DateTime) -> float:
    return float((now - attempt.call.created_at).total_seconds())


def _end(attempt: Overdue, sighting: LookupResult, now: DateTime) -> End | None:
    """Decide on the network's word whether an attempt is over. None: it goes on, or reports will say.

    An attempt that may still be on its way to the network is left alone, whatever the network says: a request that
    left at the last moment needs time to arrive. Whatever the case is, it ends at GIVE_UP_SECONDS.
    """
    is_given_up = _age(attempt, now) > GIVE_UP_SECONDS
    match sighting:
        case Seen() if not _is_up(sighting):
            # It has been moved on by these words, unless it cannot be.
            return End("end_not_settled", Outcome.UNKNOWN) if is_given_up else None
        case Seen() if is_given_up:
            return End("still_up", Outcome.UNKNOWN)
        case Absent() | NotFoundNow() if attempt.has_report_waiting:
            # There was a call, for it was reported on: it must not count as never placed (P1).
            return _gone(attempt) if is_given_up else None
        case Absent() if attempt.state in (AttemptState.RESERVED, AttemptState.UNCLEAR):
            return End("never_placed") if _age(attempt, now) >= PLACED_OR_NEVER else None
        case Absent():
            return _gone(attempt)
        case NotFoundNow(has_restarted=True) if attempt.state in (
            AttemptState.PLACED,
            AttemptState.RINGING,
            AttemptState.ANSWERED,
        ):
            return _gone(attempt)
        case NotFoundNow() if attempt.gone_at is not None and _age(attempt, now) >= PLACED_OR_NEVER:
            # For the second time: a report that was on its way at the first has come since.
            is_unheard = attempt.state in (AttemptState.RESERVED, AttemptState.UNCLEAR)
            return End("never_placed") if is_unheard and attempt.heard_without_break else _gone(attempt)
        case LookupFailed() if attempt.has_end_in_quarantine:
            return End("report_in_quarantine", Outcome.UNKNOWN)
        case LookupFailed(reason) if _age(attempt, now) > CALL_SECONDS:
            return End(reason, Outcome.UNKNOWN)
        case _:
            return None


def _gone(attempt: Overdue) -> End:
    """The call is over, and nobody can say how."""
    return End("gone_from_network", Outcome.ANSWERED if attempt.state is AttemptState.ANSWERED else Outcome.UNKNOWN)
