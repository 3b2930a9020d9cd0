"""What dispatch decides, from values alone: why a batch is held, how long a grant is good, when to look again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import time
from random import Random
from typing import Any
from uuid import UUID

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pendulum import DateTime

from dialer.domain.batch import Batch, BatchCounts, NextDispatch
from dialer.domain.calling_span import CallingSpan, span_of
from dialer.domain.dispatch_plan import BatchPlan, next_dispatch, offers_of, plan_batch, slot_requests, with_lanes
from dialer.domain.hold import Hold
from dialer.domain.ids import AgentId, AttemptId, BatchId, NumberId, TrunkId, WorkspaceId
from dialer.domain.lane import NO_LANE, Lane
from dialer.domain.retry import RetryRules
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.domain.slots import NumberRoute, SlotGrant, SlotGrants, SlotRequest, Turn
from dialer.domain.states import BatchStatus
from dialer.domain.timeouts import GRANT_SECONDS, RING_LEAD_SECONDS
from dialer.domain.trunk import OutboundNumber, Trunk
from dialer.domain.window import ALL_WEEK, CallingWindow

NOW = pendulum.datetime(2026, 3, 2, 12)  # a Monday
EPOCH = UUID(int=1)
TRUNK = Trunk(TrunkId(UUID(int=2)), "simulator", {})
ALWAYS = CallingWindow("UTC", working_days=ALL_WEEK)
NINE_TO_FIVE = CallingWindow("UTC", time(9), time(17))
MONDAYS = frozenset(NOW.add(weeks=n).date() for n in range(60))
NEVER = CallingWindow("UTC", working_days=frozenset({1}), excluded_dates=MONDAYS)


def batch(**given: Any) -> Batch:
    usual: dict[str, Any] = {
        "id": BatchId(UUID(int=10)),
        "workspace_id": WorkspaceId(UUID(int=11)),
        "name": "test",
        "agent_id": AgentId(UUID(int=12)),
        "status": BatchStatus.ACTIVE,
        "version": 1,
        "strategy": RotationStrategy.SEQUENTIAL,
        "window": ALWAYS,
        "retry": RetryRules(),
        "max_concurrent_calls": 10,
        "max_calls_per_day": None,
        "respect_contact_timezone": False,
        "sticky_caller_id": False,
        "expires_at": None,
        "priority": 5,
        "agent_is_active": True,
        "connection": {},
        "pending": 100,
        "waiting": 0,
        "dialing": 0,
    }
    return Batch(**usual | given)


def number(n: int = 20, **given: Any) -> OutboundNumber:
    usual = OutboundNumber(NumberId(UUID(int=n)), f"+1202555{n:04}", None, None, TRUNK, None, None, is_usable=True)
    return replace(usual, **given)


def plan(
    today: int = 0, now: DateTime = NOW, numbers: Sequence[OutboundNumber] = (number(),), **given: Any
) -> BatchPlan:
    return plan_batch(batch(**given), numbers, today, now)


SOON = NOW.add(seconds=60)


@pytest.mark.parametrize(
    ("given", "hold"),
    [
        ({}, None),
        ({"expires_at": NOW}, Hold("expired")),
        ({"expires_at": NOW.add(seconds=1)}, None),
        ({"numbers": []}, Hold("no_outbound_number", is_final=True)),
        ({"numbers": [number(is_usable=False)]}, Hold("no_active_number", SOON)),
        ({"numbers": [number(is_usable=False), number(21)]}, None),
        ({"agent_is_active": False}, Hold("agent_inactive", SOON)),
        ({"window": None}, Hold("window_unreadable", SOON)),
        ({"window": NINE_TO_FIVE, "now": NOW.at(8, 59, 59)}, Hold("window", NOW.at(9))),
        ({"window": NINE_TO_FIVE, "now": NOW.at(9)}, None),
        # Open, but too late for a call to ring inside.
        ({"window": NINE_TO_FIVE, "now": NOW.at(16, 59, 49)}, None),
        ({"window": NINE_TO_FIVE, "now": NOW.at(16, 59, 50)}, Hold("window", NOW.add(days=1).at(9))),
        ({"window": NINE_TO_FIVE, "now": NOW.at(17)}, Hold("window", NOW.add(days=1).at(9))),
        ({"window": NINE_TO_FIVE, "now": NOW.add(days=5)}, Hold("window", NOW.add(days=7).at(9))),
        ({"window": NEVER}, Hold("window_never_opens", is_final=True)),
        ({"max_calls_per_day": 5, "today": 4}, None),
        ({"max_calls_per_day": 5, "today": 5}, Hold("daily_cap", NOW.add(days=1).start_of("day"))),
        (
            {"max_calls_per_day": 5, "today": 6, "window": NINE_TO_FIVE},
            Hold("daily_cap", NOW.add(days=1).at(9)),
        ),
        # The cap is the batch's day's, the window each contact's own: some may be open before the batch's own is.
        (
            {"max_calls_per_day": 5, "today": 5, "window": NINE_TO_FIVE, "respect_contact_timezone": True},
            Hold("daily_cap", NOW.add(days=1).start_of("day")),
        ),
        ({"window": NINE_TO_FIVE, "now": NOW.at(3), "respect_contact_timezone": True}, None),
    ],
)
def test_a_batch_is_held_for_the_first_reason_that_applies(given: dict[str, Any], hold: Hold | None) -> None:
    made = plan(**given)
    assert made.hold == hold
    assert made.hold is None or (made.wanted, made.turns) == (0, ())


def test_numbers_whose_trunk_nobody_hears_are_not_used_and_hold_the_batch_where_it_has_no_others() -> None:
    deaf, failing = replace(TRUNK, id=TrunkId(UUID(int=3))), replace(TRUNK, id=TrunkId(UUID(int=4)))
    unheard, works = number(21, trunk=deaf), number(22)
    fails = number(23, trunk=failing, trunk_probe_at=NOW.add(seconds=40))

    def held(*numbers: OutboundNumber) -> BatchPlan:
        return plan_batch(batch(), numbers, 0, NOW, {deaf.id})

    assert held(unheard, works).numbers == (works,)
    assert held(unheard).hold == Hold("trunk_unheard", NOW.add(seconds=5))
    assert held(fails).hold == Hold("trunk_failing", NOW.add(seconds=40))
    # What comes first is looked at first: somebody may hear the one before the other is probed.
    assert held(unheard, fails).hold == Hold("trunk_failing", NOW.add(seconds=5))
    assert held(number(21, trunk=deaf, is_usable=False)).hold == Hold("no_active_number", SOON)


def test_of_several_reasons_the_one_that_is_final_or_lasts_is_told() -> None:
    everything: dict[str, Any] = {"agent_is_active": False, "window": None, "max_calls_per_day": 1, "today": 1}
    assert plan(expires_at=NOW, numbers=[], **everything).hold == Hold("expired")
    assert plan(numbers=[], **everything).hold == Hold("no_outbound_number", is_final=True)
    assert plan(numbers=[number(is_usable=False)], **everything).hold == Hold("no_active_number", SOON)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, 10),
        ({"dialing": 7}, 3),
        ({"dialing": 12}, 0),
        ({"pending": 4}, 4),
        ({"pending": 0}, 0),
        ({"max_calls_per_day": 8, "today": 5}, 3),
        ({"max_calls_per_day": 8, "today": 5, "dialing": 8}, 2),
    ],
)
def test_it_wants_as_many_calls_as_slots_contacts_and_the_day_allow(given: dict[str, Any], wanted: int) -> None:
    assert plan(**given).wanted == len(plan(**given).turns) == wanted


MIDNIGHT = NOW.add(days=1).start_of("day")
BERLIN = CallingWindow("Europe/Berlin", working_days=ALL_WEEK)
NIGHT = CallingWindow("Europe/Berlin", time(22), time(6), ALL_WEEK)
GRANT_ENDS = NOW.add(seconds=GRANT_SECONDS)


def span(window: CallingWindow, now: DateTime) -> CallingSpan | None:
    return span_of([window], window, now)


def test_a_grant_is_good_for_twenty_seconds_inside_the_window() -> None:
    assert span(NINE_TO_FIVE, NOW) == CallingSpan(NOW.at(9), GRANT_ENDS, NOW.at(17))
    assert span(ALWAYS, NOW) == CallingSpan(NOW.start_of("day"), GRANT_ENDS, None)
    assert span(NINE_TO_FIVE, NOW.at(9)) == CallingSpan(NOW.at(9), NOW.at(9, 0, 20), NOW.at(17))
    assert span(NINE_TO_FIVE, NOW.at(8, 59, 59)) is None


def test_a_grant_ends_before_the_window_does_so_that_the_call_rings_inside() -> None:
    last = NOW.at(17).subtract(seconds=RING_LEAD_SECONDS)
    assert span(NINE_TO_FIVE, last.subtract(seconds=5)) == CallingSpan(NOW.at(9), last, NOW.at(17))
    assert span(NINE_TO_FIVE, last.subtract(microseconds=1)) == CallingSpan(NOW.at(9), last, NOW.at(17))
    assert span(NINE_TO_FIVE, last) is None


def test_no_grant_outlives_the_local_day_whose_cap_it_counts_to() -> None:
    # Berlin is an hour ahead of UTC in winter.
    local_midnight = NOW.at(23)
    before, after = span(NIGHT, local_midnight.subtract(seconds=5)), span(NIGHT, local_midnight)
    assert before == CallingSpan(NOW.at(21), local_midnight, MIDNIGHT.at(5))
    assert after == CallingSpan(local_midnight, local_midnight.add(seconds=GRANT_SECONDS), MIDNIGHT.at(5))


def test_no_grant_outlives_the_utc_day_whose_caps_of_numbers_it_counts_to() -> None:
    before, after = span(NIGHT, MIDNIGHT.subtract(seconds=5)), span(NIGHT, MIDNIGHT)
    assert before == CallingSpan(NOW.at(23), MIDNIGHT, MIDNIGHT.at(5))
    assert after == CallingSpan(MIDNIGHT, MIDNIGHT.add(seconds=GRANT_SECONDS), MIDNIGHT.at(5))


def test_all_zones_of_a_contact_must_be_open_and_the_first_to_close_counts() -> None:
    eastern, pacific = (replace(NINE_TO_FIVE, timezone=f"America/{city}") for city in ("New_York", "Los_Angeles"))
    both, own = [eastern, pacific], eastern
    assert span_of(both, own, NOW.at(16, 59)) is None  # nine in New York has long been, in Los Angeles not yet
    assert span_of(both, own, NOW.at(17)) == CallingSpan(NOW.at(17), NOW.at(17, 0, 20), NOW.at(22))
    assert span_of(both, own, NOW.at(21, 59, 50)) is None


@given(
    st.integers(0, 7 * 86_400 - 1),
    st.sampled_from([ALWAYS, NINE_TO_FIVE, BERLIN, NIGHT, CallingWindow("Asia/Kolkata", time(0), time(0, 1))]),
)
def test_every_moment_of_a_span_is_open_and_of_one_day(second: int, window: CallingWindow) -> None:
    now = NOW.start_of("week").add(seconds=second)
    granted = span(window, now)
    if granted is None:
        closes = window.closes_at(now) if window.is_open(now) else now
        assert closes is not None
        assert closes <= now.add(seconds=RING_LEAD_SECONDS)
        return
    assert granted.valid_from <= now < granted.valid_until <= now.add(seconds=GRANT_SECONDS)
    last = granted.valid_until.subtract(microseconds=1)
    for moment in (granted.valid_from, last):
        assert window.is_open(moment)
        assert window.local_day(moment) == window.local_day(now)
        assert moment.date() == now.date()
    assert window.is_open(last.add(seconds=RING_LEAD_SECONDS - 1))


FREE = BatchCounts(pending=50, waiting=0, dialing=5)
LOADED = SlotGrants(EPOCH)


def look(
    planned: BatchPlan, after: BatchCounts = FREE, claimed: int = 0, grants: SlotGrants = LOADED
) -> tuple[DateTime | None, str | None]:
    due = next_dispatch(planned, after, claimed, grants, NOW)
    assert due.batch_id == planned.batch.id
    return due.at, due.held_by


def held(reason: str, free_at: DateTime | None = None) -> SlotGrants:
    own = batch().id
    return SlotGrants(EPOCH, held={own: reason}, free_at={own: free_at} if free_at else {})


def granted(count: int, grants: SlotGrants = LOADED) -> SlotGrants:
    turn = Turn(NO_LANE, CallingSpan(NOW, GRANT_ENDS, None))
    requests = [SlotRequest(AttemptId(UUID(int=100 + n)), batch().id, turn) for n in range(count)]
    return replace(grants, granted=tuple(SlotGrant(request, NumberRoute(number()), NOW) for request in requests))


EVENING = NOW.at(20)
CLOSED = replace(plan(respect_contact_timezone=True, pending=50), wanted=10)


@pytest.mark.parametrize(
    ("planned", "given", "expected"),
    [
        # Held as a whole: until then.
        (plan(window=NINE_TO_FIVE, now=NOW.at(7)), {}, (NOW.at(9), "window")),
        (plan(agent_is_active=False), {}, (SOON, "agent_inactive")),
        (plan(expires_at=NOW), {}, (None, "expired")),
        # Only an event can change anything.
        (plan(), {"after": BatchCounts(0, 3, 2)}, (None, "retry")),
        (plan(), {"after": BatchCounts(0, 0, 2)}, (None, "calls")),
        (plan(), {"after": BatchCounts(50, 0, 10)}, (None, "slots")),
        # Something is left to do, and nothing stands in the way.
        (plan(), {}, (NOW, None)),
        (plan(), {"claimed": 5, "grants": granted(5)}, (NOW, None)),
        (plan(max_calls_per_day=5, today=2), {"claimed": 3}, (NOW, "daily_cap")),
        # Redis must be loaded first.
        (plan(), {"grants": SlotGrants(None)}, (NOW.add(seconds=1), "leases")),
        # Somebody else's room.
        (plan(), {"grants": held("trunk")}, (NOW.add(seconds=2), "trunk")),
        (plan(), {"grants": held("number")}, (NOW.add(seconds=2), "number")),
        (plan(), {"grants": held("slots")}, (NOW.add(seconds=1), "slots")),
        (plan(), {"grants": held("rate", NOW.add(seconds=0.3))}, (NOW.add(seconds=0.3), "rate")),
        (plan(), {"grants": held("number_day")}, (NOW.add(minutes=10), "number_day")),
        # What was granted and not used was put back: there is room after all.
        (plan(), {"claimed": 3, "grants": granted(3, held("number_day"))}, (NOW.add(minutes=10), "number_day")),
        (plan(), {"claimed": 2, "grants": granted(3, held("number_day"))}, (NOW, None)),
        # The lanes that were looked at are closed.
        (replace(CLOSED, opens_at=EVENING), {}, (EVENING, "contact_timezone")),
        (CLOSED, {}, (SOON, "contact_timezone")),
        (replace(CLOSED, opens_at=EVENING), {"after": replace(FREE, pending=51)}, (NOW, "contact_timezone")),
    ],
)
def test_when_to_look_again(
    planned: BatchPlan, given: dict[str, Any], expected: tuple[DateTime | None, str | None]
) -> None:
    assert look(planned, **given) == expected


def test_a_number_that_is_used_up_is_looked_at_again_at_the_end_of_the_utc_day() -> None:
    before = MIDNIGHT.subtract(minutes=4)
    assert next_dispatch(plan(), FREE, 0, held("number_day"), before) == NextDispatch(
        batch().id, MIDNIGHT, "number_day"
    )


@pytest.mark.parametrize(
    ("expires_at", "after", "at"),
    [
        (EVENING, BatchCounts(0, 3, 2), EVENING),
        (NOW.add(seconds=1), FREE, NOW),
        (EVENING, BatchCounts(50, 0, 10), EVENING),
        (NOW.subtract(seconds=1), BatchCounts(0, 0, 2), None),
    ],
)
def test_a_batch_that_expires_is_looked_at_then_at_the_latest(
    expires_at: DateTime, after: BatchCounts, at: DateTime | None
) -> None:
    assert look(plan(expires_at=expires_at), after)[0] == at


def test_turns_go_to_the_open_lanes_in_calling_order() -> None:
    made = with_lanes(
        plan(pending=9, max_concurrent_calls=3, window=NINE_TO_FIVE, respect_contact_timezone=True),
        [Lane.parse(zone) for zone in ("Asia/Tokyo", "UTC", "Europe/Berlin", "UTC", "UTC", "Asia/Tokyo")],
        NOW,
    )
    assert [str(turn.lane) for turn in made.turns] == ["UTC", "Europe/Berlin", "UTC"]
    assert made.opens_at == NOW.add(days=1).start_of("day")  # nine o'clock in Tokyo


def test_a_zone_that_this_system_does_not_know_holds_its_own_contacts_and_nobody_else() -> None:
    own = plan(respect_contact_timezone=True)
    unknown, utc = Lane(("Mars/Olympus",)), Lane(("UTC",))
    mixed, alone = (with_lanes(own, lanes, NOW) for lanes in ([unknown, utc], [unknown]))
    assert [str(turn.lane) for turn in mixed.turns] == ["UTC"]
    assert (alone.turns, alone.opens_at) == ((), None)


def requested(*plans: BatchPlan) -> list[SlotRequest]:
    return slot_requests({batch_plan.batch.id: batch_plan for batch_plan in plans}, NOW, Random(5))


def test_asks_of_many_batches_take_turns_by_what_they_have_in_progress() -> None:
    busy = plan(id=BatchId(UUID(int=30)), dialing=3, max_concurrent_calls=6)
    idle = plan(id=BatchId(UUID(int=31)), dialing=0, max_concurrent_calls=5)
    order = [request.batch_id.int - 30 for request in requested(busy, idle)]
    assert order[:3] == [1, 1, 1]
    assert Counter(order) == {0: 3, 1: 5}
    assert set(order[3:5]) == {0, 1}


def test_a_batch_of_higher_priority_is_entitled_to_more() -> None:
    high, low = (plan(id=BatchId(UUID(int=30 + n)), priority=n, max_concurrent_calls=100) for n in (1, 10))
    order = [request.batch_id for request in requested(high, low)]
    assert Counter(order[:22]) == {high.batch.id: 20, low.batch.id: 2}


def test_a_sticky_contact_asks_for_its_own_number_alone_while_that_can_be_used() -> None:
    first, second, third = number(40), number(41), number(42, is_usable=False)
    sticky = plan(numbers=[first, second, third], sticky_caller_id=True)
    lanes = (f"|{second.id}", "", f"|{third.id}", f"UTC|{first.id}")
    made = with_lanes(sticky, [Lane.parse(lane) for lane in lanes], NOW)
    assert {str(request.turn.lane): request.order for request in requested(made)} == {
        f"|{second.id}": (1,),
        "": (0, 1),
        f"|{third.id}": (0, 1),
        f"UTC|{first.id}": (0,),
    }


def test_an_offer_says_by_what_it_was_allowed() -> None:
    made = plan(
        window=replace(BERLIN, start_time=time(9), end_time=time(0)),
        numbers=[number(max_calls_per_day=7)],
        retry=RetryRules(enabled=True, max_attempts=2),
    )
    (request,) = requested(replace(made, turns=made.turns[:1]))
    (offer,) = offers_of(made.batch, [SlotGrant(request, NumberRoute(made.numbers[0]), NOW)], NOW)
    assert (offer.local_on, offer.utc_on) == (NOW.date(), NOW.date())
    assert (offer.valid_from, offer.valid_until) == (NOW.at(8), GRANT_ENDS)
    assert '"start_time": "09:00"' in offer.allowed_by
    assert '"max_attempts": 3' in offer.allowed_by
    assert '"number_max_calls_per_day": 7' in offer.allowed_by
