"""One simulated call: its script, drawn in advance, the carrier's record of it, and when its reports are due.

In: a request and the network's profile. Out: a `CarrierCall`, its events, and their deliveries. A call is planned to
its end when it is placed; hanging up shortens it. Nothing here waits or sends. A script depends on the profile, the
number and how often that number was requested before, and on nothing else (not on attempt ids, time or other calls), so
that a run can be repeated in any interleaving.

Times are whole microseconds since 1970: hundreds of thousands of calls stay small and compare exactly.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Self

import pendulum
from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import Outcome
from dialer.providers.base import CallRequest
from dialer.providers.simulator.config import NetworkProfile
from dialer.providers.simulator.profile import DRAWN_OUTCOMES, Durations, Faults

SECOND = 1_000_000
MILLISECOND = 1_000
REPEATED_AFTER = SECOND

TALKED = frozenset({Outcome.ANSWERED, Outcome.MACHINE})
RANG = TALKED | {Outcome.NO_ANSWER, Outcome.REJECTED}
# The names of ITU-T Q.850 as FreeSWITCH and others write them.
CAUSES = {
    Outcome.ANSWERED: "normal_clearing",
    Outcome.MACHINE: "normal_clearing",
    Outcome.BUSY: "user_busy",
    Outcome.NO_ANSWER: "no_answer",
    Outcome.REJECTED: "call_rejected",
    Outcome.INVALID_NUMBER: "unallocated_number",
    Outcome.FAILED: "normal_temporary_failure",
    Outcome.CANCELLED: "originator_cancel",
}
NOT_RUNG_IN_TIME = "recovery_on_timer_expire"


class PlacementFault(StrEnum):
    """What goes wrong with a placement, in the order of `Faults.of_placement`."""

    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    REFUSED = "refused"
    SERVER_ERROR = "server_error"


@dataclass(frozen=True, slots=True)
class ReportFaults:
    """What goes wrong with one report."""

    lost: bool
    late: bool
    repeated: bool
    reordered: bool


@dataclass(frozen=True, slots=True)
class CallScript:
    """How one call will go; durations in microseconds, already divided by the profile's speed."""

    outcome: Outcome
    setup: int
    ring: int
    talk: int
    fault: PlacementFault | None
    reports: tuple[ReportFaults, ReportFaults, ReportFaults]


@dataclass(frozen=True, slots=True)
class CarrierCall:
    """The carrier's own record of one call, independent of what was reported.

    Times are in microseconds; the properties give them as date-times. Those of a call that is up may lie in the future:
    they are what will happen unless someone hangs up. An attempt that was placed twice has two calls with different
    ids.
    """

    attempt_id: AttemptId
    call_id: str
    to_number: str
    from_number: str
    placed: int
    rang: int | None
    answered: int | None
    ended: int
    outcome: Outcome
    cause: str
    ring_by: DateTime | None

    @property
    def placed_at(self) -> DateTime:
        return from_micros(self.placed)

    @property
    def rang_at(self) -> DateTime | None:
        return None if self.rang is None else from_micros(self.rang)

    @property
    def answered_at(self) -> DateTime | None:
        return None if self.answered is None else from_micros(self.answered)

    @property
    def ended_at(self) -> DateTime:
        return from_micros(self.ended)

    @property
    def talk_seconds(self) -> float:
        return 0.0 if self.answered is None else (self.ended - self.answered) / SECOND

    def steps(self) -> Iterator[tuple[EventKind, int]]:
        """Yield what happens in this call and when, oldest first."""
        if self.rang is not None:
            yield EventKind.RINGING, self.rang
        if self.answered is not None:
            yield EventKind.ANSWERED, self.answered
        yield EventKind.ENDED, self.ended

    def event(self, kind: EventKind) -> CallEvent:
        """Return the event of one step. Its key has the call's id: the calls of one attempt have different reports."""
        ended = kind is EventKind.ENDED
        return CallEvent(
            key=report_key(self.call_id, kind),
            attempt_id=self.attempt_id,
            kind=kind,
            at=from_micros(dict(self.steps())[kind]),
            outcome=self.outcome if ended else None,
            cause=self.cause if ended else None,
            talk_seconds=self.talk_seconds if ended else None,
            provider_call_id=self.call_id,
        )

    def cut(self, at: int) -> Self:
        """Return this call as someone hangs up at this time, before its end."""
        if self.answered is not None and self.answered <= at:
            return replace(self, ended=at)
        rang = self.rang if self.rang is not None and self.rang <= at else None
        cancelled = Outcome.CANCELLED
        return replace(self, rang=rang, answered=None, ended=at, outcome=cancelled, cause=CAUSES[cancelled])


def report_key(call_id: str, kind: EventKind) -> str:
    return f"{call_id}:{kind}"


def draw_script(profile: NetworkProfile, to_number: str, nth: int) -> CallScript:
    """Draw the script of the nth request to this number.

    Every draw takes one random number, whatever the profile, so that changing one probability does not change the other
    draws.
    """
    rng = Random(f"{profile.seed}:{to_number}:{nth}")
    return CallScript(
        outcome=_pick(rng, profile.outcomes.weights),
        setup=_duration(rng, profile.setup_seconds, profile.speed),
        ring=_duration(rng, profile.ring_seconds, profile.speed),
        talk=_duration(rng, profile.talk_seconds, profile.speed),
        fault=_placement_fault(rng, profile.faults),
        reports=(_report(rng, profile.faults), _report(rng, profile.faults), _report(rng, profile.faults)),
    )


def _pick(rng: Random, weights: tuple[float, ...]) -> Outcome:
    return rng.choices(DRAWN_OUTCOMES, weights)[0]


def _duration(rng: Random, durations: Durations, speed: float) -> int:
    share = -math.log(1.0 - rng.random()) * (durations.mean - durations.min)
    return round(min(durations.min + share, durations.max) / speed * SECOND)


def _placement_fault(rng: Random, faults: Faults) -> PlacementFault | None:
    left = rng.random()
    for fault, chance in zip(PlacementFault, faults.of_placement(), strict=True):
        if left < chance:
            return fault
        left -= chance
    return None


def _report(rng: Random, faults: Faults) -> ReportFaults:
    return ReportFaults(
        lost=rng.random() < faults.lost,
        late=rng.random() < faults.late,
        repeated=rng.random() < faults.repeated,
        reordered=rng.random() < faults.reordered,
    )


def plan_call(request: CallRequest, script: CallScript, call_id: str, placed: int, speed: float) -> CarrierCall:
    """Plan the times of the call.

    It begins to ring before `ring_by` (the end of a calling window is exclusive), or is given up at that time. A call
    that is not answered within the ring timeout is a `no_answer`, whatever was drawn.
    """
    rings = placed + script.setup
    given_up = to_micros(request.ring_by) if request.ring_by else None
    if given_up is not None and rings >= given_up:
        return _call(request, call_id, placed, (None, None, given_up), Outcome.NO_ANSWER, NOT_RUNG_IN_TIME)
    if script.outcome not in RANG:
        return _call(request, call_id, placed, (None, None, rings), script.outcome)
    ring_timeout = round(request.ring_timeout_seconds / speed * SECOND)
    if script.outcome is Outcome.NO_ANSWER or script.ring >= ring_timeout:
        return _call(request, call_id, placed, (rings, None, rings + ring_timeout), Outcome.NO_ANSWER)
    taken = rings + script.ring
    if script.outcome is Outcome.REJECTED:
        return _call(request, call_id, placed, (rings, None, taken), Outcome.REJECTED)
    return _call(request, call_id, placed, (rings, taken, taken + script.talk), script.outcome)


def _call(
    request: CallRequest,
    call_id: str,
    placed: int,
    steps: tuple[int | None, int | None, int],
    outcome: Outcome,
    cause: str | None = None,
) -> CarrierCall:
    rang, answered, ended = steps
    return CarrierCall(
        attempt_id=request.attempt_id,
        call_id=call_id,
        to_number=request.to_number,
        from_number=request.from_number,
        placed=placed,
        rang=rang,
        answered=answered,
        ended=ended,
        outcome=outcome,
        cause=cause or CAUSES[outcome],
        ring_by=request.ring_by,
    )


def schedule_reports(
    call: CarrierCall, script: CallScript, profile: NetworkProfile
) -> tuple[tuple[EventKind, int, int], ...]:
    """Return kind, copy and time of each delivery: none for a lost report, two for a repeated one."""
    late = round(profile.faults.late_seconds / profile.speed * SECOND)
    again = round(REPEATED_AFTER / profile.speed)
    faults = dict(zip(EventKind, script.reports, strict=True))
    deliveries: list[tuple[EventKind, int, int]] = []
    following: int | None = None
    for kind, at in reversed(tuple(call.steps())):
        following = _arrival(at + late * faults[kind].late, faults[kind], following)
        copies = 0 if faults[kind].lost else 1 + faults[kind].repeated
        deliveries[:0] = [(kind, copy, following + copy * again) for copy in range(copies)]
    return tuple(deliveries)


def _arrival(due: int, faults: ReportFaults, following: int | None) -> int:
    """Delay a reordered report until after the one that should follow it."""
    return max(due, following + MILLISECOND) if faults.reordered and following is not None else due


def to_micros(moment: DateTime) -> int:
    return moment.int_timestamp * SECOND + moment.microsecond


def from_micros(micros: float) -> DateTime:
    return pendulum.from_timestamp(micros / SECOND)
