"""Rescue: repairs what crashes and silence leave behind.

    leases     Redis that lost its memory is loaded from the ledger; leases are compared with it (`lease_repair`)
    attempts   networks are asked, by our attempt id, about attempts without reports

The network's answer decides. Without one, an attempt becomes `unknown` only once its call can no longer be up. A slot
is never freed without evidence from the ledger (P2).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import structlog
from pendulum import DateTime

from dialer.domain.attempt import OverdueAttempt, PlacedCall
from dialer.domain.call import EventKind, OtherAttempts
from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.outcomes import Outcome
from dialer.domain.states import AttemptState
from dialer.domain.timeouts import CALL_SECONDS, GIVE_UP_SECONDS, LEASE_SECONDS, RESCUE_AFTER
from dialer.engine import journal, lease_repair, quarantine, settle
from dialer.engine.context import EngineContext
from dialer.engine.settle import AttemptEnd
from dialer.errors import Contended
from dialer.providers.base import Absent, Candidates, LookupFailed, LookupResult, NotFoundNow, Seen
from dialer.store import attempts, locks

PAGE = 200
ASK_AGAIN_SECONDS = 30
TELL_AGAIN_SECONDS = 3600

# In seconds. The request of an older reserved attempt cannot leave any more: its permit is refused (P1).
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


@dataclass(frozen=True, slots=True)
class LookedUp:
    """How many attempts were overdue, and those that are over now."""

    asked: int = 0
    closed: Sequence[settle.Closed] = ()


def rescue(context: EngineContext, now: DateTime, rng: Random) -> RescueReport:
    """Repair what crashes and silence have left behind. Safe to run twice, also at once."""
    try:
        rebuilt = lease_repair.rebuild_if_lost(context, now, rng)
        lease_repair.load_new_caps(context, now)
    except Contended as error:
        # A worker was stopped in the middle of a claim. Nothing is granted until then; the rest need not wait for it.
        log.warning("leases are not rebuilt yet", reason=str(error))
        rebuilt = False
    context.leases.remind(now.add(seconds=LEASE_SECONDS))
    orphans = lease_repair.free_orphans(context, now)
    restored = lease_repair.restore_missing(context, now)
    tell_of_locks(context)
    quarantine.reopen_left_behind(context)
    hang_up(context, rng)
    looked_up = _ask_networks(context, now)
    return RescueReport(
        rebuilt,
        orphans,
        restored,
        looked_up.asked,
        sum(closed.ended for closed in looked_up.closed),
        tuple(dict.fromkeys(batch_id for closed in looked_up.closed for batch_id in closed.freed)),
        sum((Counter(closed.outcomes) for closed in looked_up.closed), Counter[str]()),
    )


def hang_up(context: EngineContext, rng: Random, batch_id: BatchId | None = None) -> int:
    """End calls in progress of batches that were cancelled with them (or of one); return how many were asked for.

    Repeated until none is left: a call may have been on its way when its batch was cancelled, and a process that was
    asked to hang up may have died. The ends are reported and settled as always. Where there are many calls, the choice
    is random, so that a network which does not answer cannot keep the calls of others from being ended.
    """
    with context.db.begin() as connection:
        calls = attempts.to_hang_up(connection, batch_id)
    chosen = rng.sample(calls, min(PAGE, len(calls)))
    if chosen:
        context.providers.hang_up_all(chosen)
    return len(chosen)


def tell_of_locks(context: EngineContext, held_seconds: float = locks.HELD_SECONDS) -> None:
    """Log which sessions have kept rows locked for longer than any step would; once, over all workers."""
    with context.db.begin() as connection:
        holders = locks.holders(connection, held_seconds)
    for holder in holders:
        if context.leases.ask_once(f"locks:{holder.name}", TELL_AGAIN_SECONDS):
            log.warning("rows are locked by a session that does not end its transaction", reason=holder.sentence)


def _ask_networks(context: EngineContext, now: DateTime) -> LookedUp:
    """Look up the overdue attempts and move them on by what the networks answer."""
    again_at = now.add(seconds=ASK_AGAIN_SECONDS)
    with context.db.begin() as connection:
        overdue = attempts.take_overdue(connection, now, again_at, PAGE)
    if not overdue:
        return LookedUp()
    # The ledger knows that the requests of these have not left, whatever their network answers.
    unsent = {
        attempt.id: AttemptEnd("never_placed")
        for attempt in overdue
        if attempt.is_unsent and _age(attempt, now) >= PLACED_OR_NEVER
    }
    asked = [attempt for attempt in overdue if attempt.id not in unsent]
    answers = context.providers.look_up_all([(attempt.trunk, attempt.call) for attempt in asked])
    results = _identified(context, answers)
    _note(context, results)
    seen = {attempt_id: result.events for attempt_id, result in results.items() if isinstance(result, Seen)}
    followed = settle.follow_networks(context, seen, now)
    too_long = [attempt for attempt in asked if attempt.is_too_long and _is_up(results[attempt.id])]
    context.providers.hang_up_all([(attempt.trunk, attempt.call) for attempt in too_long])
    ends = {attempt.id: end for attempt in asked if (end := _end(attempt, results[attempt.id], now))}
    closed = settle.close(context, unsent | ends, now)
    with context.db.begin() as connection:
        attempts.rescue_later(connection, [attempt_id for attempt_id, result in results.items() if _is_up(result)])
    return LookedUp(len(overdue), (followed, closed))


def _identified(context: EngineContext, results: Mapping[AttemptId, LookupResult]) -> dict[AttemptId, LookupResult]:
    """Tell which call is an attempt's own, where its network has found calls by their numbers and time alone.

    The ledger is read after the network: whatever call the network knew then, its attempt is in the ledger by now.
    """
    unsure = {attempt_id: result for attempt_id, result in results.items() if isinstance(result, Candidates)}
    if not unsure:
        return dict(results)
    with context.db.begin() as connection:
        others = attempts.others(connection, list(unsure))
    own = {attempt_id: _own_call(result, others.get(attempt_id)) for attempt_id, result in unsure.items()}
    return {**results, **own}


def _own_call(result: Candidates, others: OtherAttempts | None) -> LookupResult:
    """Leave out other attempts' calls: to take one of them for this attempt's would lose both calls' ends (P5)."""
    if others is None:
        return LookupFailed("the call has been reported meanwhile")
    possible = [call for call in result.calls if call.provider_call_id not in others.call_ids]
    if not possible:
        return result.otherwise
    if len(possible) > 1 or others.is_one_unknown:
        return LookupFailed("ambiguous: there are calls of that moment which could be another attempt's")
    return possible[0]


def _note(context: EngineContext, results: Mapping[AttemptId, LookupResult]) -> None:
    """Write which calls exist, and which do not exist any more."""
    with context.db.begin() as connection:
        placed = [
            PlacedCall(attempt_id, result.provider_call_id)
            for attempt_id, result in results.items()
            if isinstance(result, Seen)
        ]
        changed = attempts.mark_placed(connection, placed, skip_locked=True)
        gone = [attempt_id for attempt_id, result in results.items() if isinstance(result, NotFoundNow)]
        attempts.mark_gone(connection, gone)
    journal.answered(AttemptState.PLACED, changed)


def _is_up(result: LookupResult) -> bool:
    return isinstance(result, Seen) and all(event.kind is not EventKind.ENDED for event in result.events)


def _age(attempt: OverdueAttempt, now: DateTime) -> float:
    return float((now - attempt.call.created_at).total_seconds())


def _end(attempt: OverdueAttempt, result: LookupResult, now: DateTime) -> AttemptEnd | None:
    """Decide by the network's answer whether an attempt is over. None: it goes on, or reports will decide.

    An attempt whose request may still be on its way is left alone, whatever the network answers (P1): a request that
    left at the last moment needs time to arrive. Every attempt ends after GIVE_UP_SECONDS.
    """
    is_given_up = _age(attempt, now) > GIVE_UP_SECONDS
    match result:
        case Seen() if not _is_up(result):
            # follow_networks has moved it on by this answer, unless it cannot be settled.
            return AttemptEnd("end_not_settled", Outcome.UNKNOWN) if is_given_up else None
        case Seen() if is_given_up:
            return AttemptEnd("still_up", Outcome.UNKNOWN)
        case Absent() | NotFoundNow() if attempt.has_report_waiting:
            # It was reported on, so there was a call: it must not count as never placed (P1).
            return _gone(attempt) if is_given_up else None
        case Absent() if attempt.state in (AttemptState.RESERVED, AttemptState.UNCLEAR):
            return _absent(attempt) if _age(attempt, now) >= PLACED_OR_NEVER else None
        case Absent():
            return _gone(attempt)
        # For the second time: a report that was on its way at the first has arrived since.
        case NotFoundNow(has_restarted) if attempt.is_placed and (has_restarted or attempt.gone_at is not None):
            return _gone(attempt)
        case NotFoundNow() if attempt.gone_at is not None and _age(attempt, now) >= PLACED_OR_NEVER:
            return _absent(attempt) if attempt.heard_without_break else _gone(attempt)
        case LookupFailed() if attempt.has_end_in_quarantine:
            return AttemptEnd("report_in_quarantine", Outcome.UNKNOWN)
        case LookupFailed(reason) if _age(attempt, now) > CALL_SECONDS:
            return AttemptEnd(reason, Outcome.UNKNOWN)
        case _:
            return None


def _absent(attempt: OverdueAttempt) -> AttemptEnd:
    """The call was never placed. If another network may have got its request, only that one could say so (P1)."""
    return _gone(attempt) if attempt.network_has_changed else AttemptEnd("never_placed")


def _gone(attempt: OverdueAttempt) -> AttemptEnd:
    """The call is over, and it is not known how it ended."""
    return AttemptEnd(
        "gone_from_network", Outcome.ANSWERED if attempt.state is AttemptState.ANSWERED else Outcome.UNKNOWN
    )
