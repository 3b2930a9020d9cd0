"""What will happen to one call, drawn in advance.

In: the profile, the number and how often that number was asked for before. Out: a `Course`. It depends on nothing else:
neither on attempt ids, nor on time, nor on what other calls do, so that a run can be repeated in any interleaving.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from dialer.domain.outcomes import Outcome
from dialer.providers.simulator.instants import SECOND
from dialer.providers.simulator.profile import DRAWN_OUTCOMES, Durations, Faults, NetworkProfile


class PlacementFault(StrEnum):
    """The order is that of `Faults.of_placement`."""

    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    REFUSED = "refused"
    SERVER_ERROR = "server_error"


@dataclass(frozen=True, slots=True)
class ReportFaults:
    """What befalls one report on its way."""

    lost: bool
    late: bool
    repeated: bool
    reordered: bool


@dataclass(frozen=True, slots=True)
class Course:
    """One call as it will go; durations in microseconds, already divided by the profile's speed."""

    outcome: Outcome
    setup: int
    ring: int
    talk: int
    fault: PlacementFault | None
    reports: tuple[ReportFaults, ReportFaults, ReportFaults]


def draw_course(profile: NetworkProfile, to_number: str, nth: int) -> Course:
    """Draw the course of the nth request to this number.

    Every draw takes one number from the stream, whatever the profile, so that changing one share of it leaves the
    other draws as they were.
    """
    rng = Random(f"{profile.seed}:{to_number}:{nth}")
    return Course(
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
