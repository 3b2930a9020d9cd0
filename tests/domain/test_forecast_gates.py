"""A virtual run delays calls by the gates of dispatch: what it says at a moment is what they say of its state then."""

from dataclasses import replace
from datetime import time
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from pendulum import DateTime, from_timestamp

from dialer.domain.batch import Batch
from dialer.domain.forecast.assumptions import Given, assume
from dialer.domain.forecast.history import History
from dialer.domain.forecast.situation import Cohort, Limits, Situation
from dialer.domain.forecast.timetable import timetable
from dialer.domain.forecast.virtual_run import Look, run
from dialer.domain.gates.codes import Blocked, GateCode
from dialer.domain.gates.of_batch import daily_cap
from dialer.domain.gates.of_contact import lane_hours
from dialer.domain.gates.room import rooms
from dialer.domain.lane import Lane
from dialer.domain.window import CallingWindow
from domain.test_forecast import MONDAY, a_batch

CLOSED = {GateCode.OUTSIDE_BATCH_HOURS, GateCode.OUTSIDE_CONTACT_HOURS}
HOURS = st.sampled_from([(None, None), (time(9), time(17)), (time(8), time(8, 1)), (time(22), time(6))])
LANES = [Lane(()), Lane(("Asia/Tokyo",)), Lane(("America/New_York", "Asia/Tokyo"))]


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    start, end = draw(HOURS)
    has_zones = draw(st.booleans())
    window = CallingWindow(draw(st.sampled_from(["UTC", "Europe/Berlin"])), start, end)
    cap, slots = draw(st.none() | st.integers(1, 9)), draw(st.integers(1, 4))
    expires_at = draw(st.none() | st.just(MONDAY.add(days=2)))
    batch = a_batch(window, draw(st.integers(0, 2)), respect_contact_timezone=has_zones, expires_at=expires_at)
    batch = replace(batch, max_calls_per_day=cap, max_concurrent_calls=slots)
    cohorts = [Cohort(draw(st.integers(1, 15)), lane.zones if has_zones else ()) for lane in LANES]
    today = draw(st.integers(0, cap or 9))
    limits = Limits(slots, None, draw(st.none() | st.sampled_from([0.02, 0.5])), cap, today)
    return Situation(batch, MONDAY, cohorts, limits)


@settings(max_examples=40)
@given(situations(), st.integers())
def test_a_call_is_delayed_by_the_gate_that_does_not_pass_and_starts_where_all_pass(
    situation: Situation, seed: int
) -> None:
    looks: list[Look] = []
    assumptions = assume(Given(), History(), None)
    rng = Random(seed)
    run(timetable(situation, 1.0), assumptions.draw(rng), rng, looks.append)
    for look in looks:
        batch = replace(situation.batch, dialing=look.in_progress)
        match look.code:
            case None:
                assert blocked(batch, look) == set()
            case GateCode.BATCH_SLOTS_FULL | GateCode.DAILY_CAP:
                assert look.code in blocked(batch, look)
            case code if code in CLOSED:
                # They are closed now, or until the next retry is due.
                now, before = from_timestamp(look.at), from_timestamp(look.until).subtract(seconds=1)
                assert any(is_closed(batch, lane, at) for lane in LANES for at in (now, before))


def blocked(batch: Batch, look: Look) -> set[GateCode]:
    """Check the gates of the contacts that are next."""
    assert batch.window is not None
    assert look.group is not None
    now = from_timestamp(look.at)
    lane = LANES[look.group] if batch.respect_contact_timezone else LANES[0]
    own = [lane_hours(lane, batch, now), daily_cap(batch, batch.window, look.today, now)]
    shared = [room.check(0) for room in rooms(batch, look.today, (), None, now)]
    codes = {gate.code for gate in (*own, *shared) if isinstance(gate, Blocked)}
    # The slots are looked at before a new day begins.
    return codes - {GateCode.REDIS_AWAY} - ({GateCode.DAILY_CAP} if look.code is GateCode.BATCH_SLOTS_FULL else set())


def is_closed(batch: Batch, lane: Lane, at: DateTime) -> bool:
    return isinstance(lane_hours(lane if batch.respect_contact_timezone else LANES[0], batch, at), Blocked)
