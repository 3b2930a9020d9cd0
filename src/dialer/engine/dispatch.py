"""Dispatch: many batches at once, from "is due" to reserved attempts that are ready to leave.

    gather   the batches, their numbers and limits: one transaction, nothing is locked
    plan     what each may start now, by its window, cap and free slots; pure
    acquire  slots, and times to leave, from Redis: one round trip
    claim    under the batches' locks the ledger has the last word; contacts become attempts; one transaction
    depart   what was not used is given back; the others are put together by trunk and time, for `place`

It never waits for a slot, never sleeps, and asks no network. A crash anywhere leaves either nothing, or leases and
`reserved` attempts that rescue finds.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from random import Random

import structlog
from pendulum import UTC, DateTime

from dialer.domain import pacing
from dialer.domain.ids import BatchId, TrunkId
from dialer.domain.states import BatchStatus
from dialer.domain.timeouts import PLACE_SECONDS, RING_SECONDS
from dialer.engine.bisect import apart, passing_locks
from dialer.engine.context import EngineContext
from dialer.engine.place import Departure
from dialer.engine.plan import Plan, Turn, look_again, offer_of, plan_batch, requests_of, with_lanes
from dialer.errors import Unavailable
from dialer.providers import registry
from dialer.providers.base import CallRequest, ContactCard
from dialer.store import batches, contacts, lease_epoch, numbers, progress, quarantine
from dialer.store.batches import Batch
from dialer.store.contacts import Claimed
from dialer.store.database import Connection
from dialer.store.lease_requests import Ask, Granted, Grants, Lease
from dialer.store.numbers import OutboundNumber
from dialer.store.progress import Counts, Locked, Look

# What holds a batch back that could not be dispatched.
ERROR = "error"
# Calls of a trunk that are planned for the same twentieth of a second leave together.
TOGETHER_SECONDS = 0.05

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DispatchReport:
    """`departures`: what `place` must be given, each after its time. `again`: batches that moved and may start more at
    once. `leases_lost`: nothing is granted before a rescue.
    """

    claimed: int = 0
    departures: tuple[Departure, ...] = field(default=())
    again: tuple[BatchId, ...] = ()
    leases_lost: bool = False


def dispatch(context: EngineContext, batch_ids: Sequence[BatchId], now: DateTime, rng: Random) -> DispatchReport:
    """Reserve as many calls of these batches as their limits allow now. Safe to run twice, also at once.

    A batch that cannot be dispatched, whatever is wrong with it, is set aside for a minute; the others are done.
    """
    if not batch_ids:
        return DispatchReport()
    reports = apart(
        list(batch_ids),
        lambda some: _dispatch(context, some, now, rng),
        lambda batch_id, error: _set_aside(context, batch_id, error, now),
    )
    return reports[0] if len(reports) == 1 else _merged(reports)


def _merged(reports: Sequence[DispatchReport]) -> DispatchReport:
    return DispatchReport(
        sum(report.claimed for report in reports),
        tuple(departure for report in reports for departure in report.departures),
        tuple(batch_id for report in reports for batch_id in report.again),
        any(report.leases_lost for report in reports),
    )


def _set_aside(context: EngineContext, batch_id: BatchId, error: Exception, now: DateTime) -> None:
    with context.db.begin() as connection:
        quarantine.note(connection, "batch", batch_id, error)
        if progress.lock_progress(connection, [batch_id], skip_locked=True):
            progress.note_looks(connection, [Look(batch_id, now.add(seconds=quarantine.AGAIN_SECONDS), ERROR)])


def _dispatch(context: EngineContext, batch_ids: Sequence[BatchId], now: DateTime, rng: Random) -> DispatchReport:
    plans = _gather(context, batch_ids, now)
    if not plans:
        return DispatchReport()
    batch_asks, asks = requests_of(plans, now, rng)
    grants = context.leases.acquire(now, batch_asks, list(asks)) if asks else Grants(None)
    try:
        claimed, again, leases_lost = passing_locks(
            lambda skip_locked: _claim(context, plans, asks, grants, now, skip_locked)
        )
    except Unavailable:
        # Whether it was committed is not known: rescue compares the leases with the ledger.
        raise
    except Exception:
        _put_back_unused(context, grants, [], now)
        raise
    _put_back_unused(context, grants, claimed, now)
    departures = _departures(plans, asks, grants, claimed, now)
    return DispatchReport(len(claimed), departures, again, leases_lost)


def _gather(context: EngineContext, batch_ids: Sequence[BatchId], now: DateTime) -> dict[BatchId, Plan]:
    with context.db.begin() as connection:
        active = [batch for batch in batches.load(connection, batch_ids) if batch.status is BatchStatus.ACTIVE]
        outbound = numbers.of_batches(connection, [batch.id for batch in active])
        today = batches.calls_today(connection, _capped_days(active, now))
        unheard = _unheard(number for listed in outbound.values() for number in listed)
        plans = {
            batch.id: plan_batch(
                batch,
                outbound.get(batch.id, []),
                today.get(batch.id, 0),
                now,
                unheard,
                _not_permitted(batch, outbound.get(batch.id, [])),
            )
            for batch in active
        }
        wanted = {plan.batch.id: plan.wanted for plan in plans.values() if plan.wanted and plan.batch.has_lanes}
        lanes = contacts.lanes(connection, list(wanted), max(wanted.values())) if wanted else {}
    return plans | {batch_id: with_lanes(plans[batch_id], listed, now) for batch_id, listed in lanes.items()}


def _unheard(outbound: Iterable[OutboundNumber]) -> set[TrunkId]:
    deaf = {number.trunk.id: number.trunk.provider for number in outbound if not number.trunk_is_heard}
    return {trunk_id for trunk_id, provider in deaf.items() if registry.needs_listener(provider)}


def _not_permitted(batch: Batch, outbound: Sequence[OutboundNumber]) -> set[TrunkId]:
    trunks = {number.trunk.id: number.trunk for number in outbound if number.is_usable}
    return {
        trunk.id
        for trunk in trunks.values()
        if not registry.permits_agent(trunk.provider, trunk.config, batch.connection.get(trunk.provider) or {})
    }


def _capped_days(of: Sequence[Batch], now: DateTime) -> dict[BatchId, date]:
    return {batch.id: batch.window.local_day(now) for batch in of if batch.max_calls_per_day and batch.window}


def _claim(
    context: EngineContext,
    plans: Mapping[BatchId, Plan],
    asks: Mapping[Ask, Turn],
    grants: Grants,
    now: DateTime,
    skip_locked: bool,
) -> tuple[list[Claimed], tuple[BatchId, ...], bool]:
    """Turn grants into attempts, as far as the ledger agrees, and write when each batch is due next. Say also whether
    Redis knows another epoch than the ledger, or none.
    """
    with context.db.begin() as connection:
        lease_epoch.share(connection)
        locked = progress.lock_active(connection, list(plans), skip_locked=skip_locked)
        today = batches.calls_today(connection, _capped_days([plan.batch for plan in plans.values()], now))
        standing = _standing(plans, locked, today)
        leases_lost = bool(asks) and any(now_is.epoch != grants.epoch for now_is in locked.values())
        if leases_lost:
            grants = Grants(None)
        offers = [
            offer_of(plans[granted.ask.batch_id], granted, asks[granted.ask], now)
            for granted in _undisputed(standing, grants, locked, today)
        ]
        claimed = contacts.claim(connection, offers) if offers else []
        for plan in standing.values():
            if plan.is_expired(now):
                contacts.expire(connection, plan.batch.id, now)
            if plan.dead_lanes:
                contacts.skip_lanes(connection, plan.batch.id, plan.dead_lanes, now)
        again = _note_looks(connection, {id_: plans[id_] for id_ in locked}, standing, grants, claimed, now)
    return claimed, again, leases_lost


def _standing(
    plans: Mapping[BatchId, Plan], locked: Mapping[BatchId, Locked], today: Mapping[BatchId, int]
) -> dict[BatchId, Plan]:
    """Keep the plans that rest on what is still so. Others decide nothing, least of all how long a batch may sleep:
    its settings have changed, or the day's cap that held it back has been given something back.
    """
    return {
        batch_id: plan
        for batch_id, now_is in locked.items()
        if (plan := plans[batch_id]).batch.version == now_is.version
        and (plan.hold is None or plan.today == today.get(batch_id, 0))
    }


def _undisputed(
    standing: Mapping[BatchId, Plan], grants: Grants, locked: Mapping[BatchId, Locked], today: Mapping[BatchId, int]
) -> list[Granted]:
    """Keep the grants that the ledger agrees with: for a batch that is still active with the settings that were planned
    for, and within its free slots and its cap as they are now.
    """
    granted: dict[BatchId, list[Granted]] = defaultdict(list)
    for one in grants.granted:
        granted[one.ask.batch_id].append(one)
    kept: list[Granted] = []
    for batch_id, mine in granted.items():
        plan = standing.get(batch_id)
        if plan is None:
            continue
        limit, cap = plan.batch.max_concurrent_calls, plan.batch.max_calls_per_day
        kept += mine[: pacing.free_slots(limit, locked[batch_id].dialing, len(mine), cap, today.get(batch_id, 0))]
    return kept


def _note_looks(
    connection: Connection,
    plans: Mapping[BatchId, Plan],
    standing: Mapping[BatchId, Plan],
    grants: Grants,
    claimed: Sequence[Claimed],
    now: DateTime,
) -> tuple[BatchId, ...]:
    """Finish the batches that are over, write when each other is due next; return those that may go on at once."""
    counts = progress.open_counts(connection, list(plans))
    calls = Counter(one.batch_id for one in claimed)
    looks = []
    for batch_id, plan in plans.items():
        if batch_id not in standing:
            looks.append(Look(batch_id, now, None))
        elif plan.hold and plan.hold.is_final:
            batches.finish(connection, batch_id, BatchStatus.FAILED, plan.hold.reason)
        elif counts[batch_id] == Counts(0, 0, 0):
            batches.finish(connection, batch_id, BatchStatus.COMPLETED, None)
        else:
            looks.append(look_again(plan, counts[batch_id], calls[batch_id], grants, now))
    progress.note_looks(connection, looks)
    if mended := [batch_id for batch_id, plan in standing.items() if plan.batch.held_by == ERROR]:
        quarantine.forget(connection, "batch", mended)
    moved = {batch_id for batch_id, plan in plans.items() if counts[batch_id].pending != plan.batch.pending}
    return tuple(look.batch_id for look in looks if look.at == now and look.batch_id in moved)


def _put_back_unused(context: EngineContext, grants: Grants, claimed: Sequence[Claimed], now: DateTime) -> None:
    used = {one.attempt_id for one in claimed}
    utc_on = now.in_timezone(UTC).date()
    context.leases.put_back(
        Lease(one.ask.attempt_id, one.ask.batch_id, one.route.number_id, one.route.trunk_id, utc_on)
        for one in grants.granted
        if one.ask.attempt_id not in used
    )


def _departures(
    plans: Mapping[BatchId, Plan],
    asks: Mapping[Ask, Turn],
    grants: Grants,
    claimed: Sequence[Claimed],
    now: DateTime,
) -> tuple[Departure, ...]:
    """Put the calls together that leave on the same trunk at about the same time."""
    granted = {one.ask.attempt_id: one for one in grants.granted}
    together: dict[tuple[TrunkId, int], list[tuple[Granted, Claimed]]] = defaultdict(list)
    for one in claimed:
        grant = granted[one.attempt_id]
        together[grant.route.trunk_id, int(grant.wait_seconds / TOGETHER_SECONDS)].append((grant, one))
    return tuple(_departure(plans, asks, calls, now) for calls in together.values())


def _departure(
    plans: Mapping[BatchId, Plan], asks: Mapping[Ask, Turn], calls: Sequence[tuple[Granted, Claimed]], now: DateTime
) -> Departure:
    first, one = min(calls, key=lambda call: call[0].wait_seconds)
    number = plans[one.batch_id].number(first.route.number_id)
    return Departure(
        number.trunk,
        tuple(_call(one, plans[one.batch_id], grant, asks[grant.ask], now) for grant, one in calls),
        wait_seconds=first.wait_seconds,
        rate=first.route.rate,
        trunk_has_failed=number.trunk_has_failed,
        agent_is_held=any(plans[one.batch_id].number(grant.route.number_id).agent_is_held for grant, one in calls),
    )


def _call(one: Claimed, plan: Plan, granted: Granted, turn: Turn, now: DateTime) -> CallRequest:
    number = plan.number(granted.route.number_id)
    return CallRequest(
        attempt_id=one.attempt_id,
        to_number=one.to_number,
        from_number=number.phone_number,
        connection=plan.batch.connection.get(number.trunk.provider) or {},
        ring_timeout_seconds=plan.batch.ring_timeout_seconds or RING_SECONDS,
        place_by=now.add(seconds=PLACE_SECONDS),
        ring_by=turn.span.ring_by,
        detect_machine=plan.batch.retry.machine,
        contact=ContactCard(one.name, one.external_id, one.variables),
    )
