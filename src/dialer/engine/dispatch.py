"""Dispatch: from batches that are due to reserved attempts that are ready to leave, for many batches at once.

    gather   reads the batches, their numbers and limits: one transaction, nothing is locked
    plan     decides what each batch may start now, by its window, daily cap and free slots; pure
    acquire  gets slots, and times to leave, from Redis: one round trip
    claim    the ledger has the last word, under the batches' locks; contacts become attempts; one transaction
    depart   gives back the slots that were not used; puts the calls together by trunk and time, for `place`

It never waits for a slot, never sleeps, and asks no provider. A crash anywhere leaves either nothing, or leases and
`reserved` attempts that rescue finds (P5).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from random import Random

import structlog
from pendulum import UTC, DateTime

from dialer.domain.attempt import ReservedAttempt
from dialer.domain.batch import Batch, BatchCounts, NextDispatch
from dialer.domain.claim_rules import current_plans, within_limits
from dialer.domain.dispatch_plan import (
    BatchPlan,
    batch_routes,
    next_dispatch,
    offers_of,
    plan_batch,
    slot_requests,
    with_lanes,
)
from dialer.domain.ids import BatchId
from dialer.domain.slots import Lease, SlotGrant, SlotGrants
from dialer.domain.states import BatchStatus
from dialer.engine import agent_breaker, journal, quarantine
from dialer.engine.bisect import run_bisecting
from dialer.engine.context import EngineContext
from dialer.engine.departure import ClaimedCall, Departure, departures_of
from dialer.engine.locked_rows import retry_skipping_locked
from dialer.engine.unusable_trunks import not_permitted, without_listener
from dialer.errors import Unavailable
from dialer.store import batches, bulk_changes, contacts, lease_epoch, numbers, progress
from dialer.store.database import Connection

# Contacts that one dispatch skips because their lane is never open. The batch is due again until none is left.
SKIP_LIMIT = 2_000
# How often the grants of one dispatch look for contacts, where those before were passed over. Half of all: 1 in 1,000
# grants finds none.
MOST_CLAIMS = 10

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DispatchReport:
    """`departures`: what `place` must be given, each after its time. `again`: batches that moved and may start more at
    once. `leases_lost`: Redis lost its memory, so nothing is granted before a rescue.
    """

    claimed: int = 0
    departures: tuple[Departure, ...] = field(default=())
    again: tuple[BatchId, ...] = ()
    leases_lost: bool = False


@dataclass(frozen=True, slots=True)
class FinishedBatch:
    """A batch that a claim has finished. `reason`: why it has failed."""

    batch_id: BatchId
    status: BatchStatus
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """`retry_now`: batches that moved and may start more at once. `leases_lost`: Redis has another epoch, or none."""

    claimed: tuple[ClaimedCall, ...] = ()
    retry_now: tuple[BatchId, ...] = ()
    finished: tuple[FinishedBatch, ...] = ()
    leases_lost: bool = False


def dispatch(context: EngineContext, batch_ids: Sequence[BatchId], now: DateTime, rng: Random) -> DispatchReport:
    """Reserve as many calls of these batches as their limits allow now. Safe to run twice, also at once.

    A batch that cannot be dispatched, whatever is wrong with it, waits for a minute; the others are dispatched.
    """

    def dispatch_part(part: Sequence[BatchId]) -> DispatchReport:
        return _dispatch(context, part, now, rng)

    def on_failure(batch_id: BatchId, error: Exception) -> None:
        quarantine.hold_batch(context, batch_id, error, now)

    if not batch_ids:
        return DispatchReport()
    reports = run_bisecting(list(batch_ids), dispatch_part, on_failure)
    return reports[0] if len(reports) == 1 else _merged(reports)


def _merged(reports: Sequence[DispatchReport]) -> DispatchReport:
    return DispatchReport(
        sum(report.claimed for report in reports),
        tuple(departure for report in reports for departure in report.departures),
        tuple(batch_id for report in reports for batch_id in report.again),
        any(report.leases_lost for report in reports),
    )


def _dispatch(context: EngineContext, batch_ids: Sequence[BatchId], now: DateTime, rng: Random) -> DispatchReport:
    began_at = context.clock()
    plans = _gather(context, batch_ids, now)
    if not plans:
        return DispatchReport()
    requests = slot_requests(plans, now, rng)
    grants = context.leases.acquire(now, batch_routes(plans, now), requests) if requests else SlotGrants(None)
    try:
        result = retry_skipping_locked(_claim, context, plans, grants, now)
    except Unavailable:
        # It is not known whether the claim was committed: rescue compares the leases with the ledger.
        raise
    except Exception:
        _put_back_unused(context, grants, [], now)
        raise
    _put_back_unused(context, grants, result.claimed, now)
    journal.reserved(result.claimed, began_at, context.clock())
    for finished in result.finished:
        journal.batch(context.db, finished.batch_id, finished.status, finished.reason)
    return DispatchReport(len(result.claimed), departures_of(result.claimed, now), result.retry_now, result.leases_lost)


def _gather(context: EngineContext, batch_ids: Sequence[BatchId], now: DateTime) -> dict[BatchId, BatchPlan]:
    with context.db.begin() as connection:
        active = [batch for batch in batches.load(connection, batch_ids) if batch.status is BatchStatus.ACTIVE]
        outbound = numbers.of_batches(connection, [batch.id for batch in active])
        today = batches.calls_today(connection, _capped_days(active, now))
        unheard = without_listener(number for of_batch in outbound.values() for number in of_batch)
        plans = {
            batch.id: plan_batch(
                batch,
                outbound.get(batch.id, []),
                today.get(batch.id, 0),
                now,
                unheard,
                not_permitted(batch, outbound.get(batch.id, [])),
            )
            for batch in active
        }
        wanted = {plan.batch.id: plan.wanted for plan in plans.values() if plan.wanted and plan.batch.has_lanes}
        lanes = contacts.lanes(connection, list(wanted), max(wanted.values())) if wanted else {}
    return plans | {batch_id: with_lanes(plans[batch_id], of_batch, now) for batch_id, of_batch in lanes.items()}


def _capped_days(of_batches: Iterable[Batch], now: DateTime) -> dict[BatchId, date]:
    return {batch.id: batch.window.local_day(now) for batch in of_batches if batch.max_calls_per_day and batch.window}


def _claim(
    skip_locked: bool, context: EngineContext, plans: Mapping[BatchId, BatchPlan], grants: SlotGrants, now: DateTime
) -> ClaimResult:
    """Turn grants into attempts, as far as the ledger agrees, and write when each batch is due next."""
    with context.db.begin() as connection:
        lease_epoch.share(connection)
        locked = progress.lock_active(connection, list(plans), skip_locked=skip_locked)
        today = batches.calls_today(connection, _capped_days([plan.batch for plan in plans.values()], now))
        current = current_plans(plans, locked, today)
        has_requests = any(plan.turns for plan in plans.values())
        leases_lost = has_requests and any(batch.epoch != grants.epoch for batch in locked.values())
        if leases_lost:
            grants = SlotGrants(None)
        claimed = _claim_contacts(connection, current, within_limits(current, grants, locked, today), now)
        if expired := [batch_id for batch_id, plan in current.items() if plan.is_expired(now)]:
            bulk_changes.begin(connection, expired)
        for plan in current.values():
            if plan.dead_lanes:
                contacts.skip_lanes(connection, plan.batch.id, plan.dead_lanes, now, SKIP_LIMIT)
        due = {id_: plans[id_] for id_ in locked}
        retry_now, finished = _write_next(connection, due, current, grants, claimed, now)
    return ClaimResult(claimed, retry_now, finished, leases_lost)


def _claim_contacts(
    connection: Connection, current: Mapping[BatchId, BatchPlan], granted: Sequence[SlotGrant], now: DateTime
) -> tuple[ClaimedCall, ...]:
    """Find a contact for each grant. There may be none: the next contacts of its lane are locked, or none is left.

    Where contacts are passed over in their turn, the grant goes to the next: its time to leave is used (P6). Where a
    batch has lanes, the next may be in another one: the grant is given back, and the next dispatch finds out.
    """
    agents = {batch_id: plan.batch.agent_id for batch_id, plan in current.items()}
    by_batch: dict[BatchId, list[SlotGrant]] = defaultdict(list)
    for grant in agent_breaker.one_probe_each(connection, granted, agents):
        by_batch[grant.batch_id].append(grant)
    offers = [offer for id_, grants in by_batch.items() for offer in offers_of(current[id_].batch, grants, now)]
    reserved: list[ReservedAttempt] = []
    for _ in range(MOST_CLAIMS):
        if not offers:
            break
        claimed = contacts.claim(connection, offers)
        reserved += claimed.reserved
        if not claimed.passed_over:
            break
        taken = {attempt.id for attempt in claimed.reserved}
        offers = [
            offer for offer in offers if offer.attempt_id not in taken and not current[offer.batch_id].batch.has_lanes
        ]
    by_attempt = {grant.attempt_id: grant for grant in granted}
    agent_breaker.note_probes(connection, [by_attempt[attempt.id] for attempt in reserved], agents, now)
    return tuple(ClaimedCall(current[attempt.batch_id].batch, by_attempt[attempt.id], attempt) for attempt in reserved)


def _write_next(
    connection: Connection,
    plans: Mapping[BatchId, BatchPlan],
    current: Mapping[BatchId, BatchPlan],
    grants: SlotGrants,
    claimed: Sequence[ClaimedCall],
    now: DateTime,
) -> tuple[tuple[BatchId, ...], tuple[FinishedBatch, ...]]:
    """Finish the batches that are over, write when each other is due next; return those that may go on at once, and
    those that are finished.
    """
    counts = progress.open_counts(connection, list(plans))
    calls = Counter(call.batch.id for call in claimed)
    nexts, finished = [], []
    for batch_id, plan in plans.items():
        if batch_id not in current:
            nexts.append(NextDispatch(batch_id, now, None))
        elif plan.hold and plan.hold.is_final:
            finished.append(FinishedBatch(batch_id, BatchStatus.FAILED, plan.hold.reason))
        elif counts[batch_id] == BatchCounts(0, 0, 0):
            finished.append(FinishedBatch(batch_id, BatchStatus.COMPLETED))
        else:
            nexts.append(next_dispatch(plan, counts[batch_id], calls[batch_id], grants, now))
    for batch in finished:
        batches.finish(connection, batch.batch_id, batch.status, batch.reason)
    progress.write_next_dispatches(connection, nexts)
    if mended := [batch_id for batch_id, plan in current.items() if plan.batch.held_by == quarantine.ERROR]:
        quarantine.release_batches(connection, mended)
    moved = {batch_id for batch_id, plan in plans.items() if counts[batch_id].pending != plan.batch.pending}
    retry_now = tuple(batch.batch_id for batch in nexts if batch.at == now and batch.batch_id in moved)
    return retry_now, tuple(finished)


def _put_back_unused(context: EngineContext, grants: SlotGrants, claimed: Sequence[ClaimedCall], now: DateTime) -> None:
    used = {call.attempt.id for call in claimed}
    utc_on = now.in_timezone(UTC).date()
    context.leases.put_back(
        Lease(grant.attempt_id, grant.batch_id, grant.number.id, grant.number.trunk.id, utc_on)
        for grant in grants.granted
        if grant.attempt_id not in used
    )
