"""When the reports of a call come, if they come.

In: a call and the faults drawn for it. Out: kind, copy and moment of each delivery. Nothing is sent here.
"""

from dialer.domain.call import EventKind
from dialer.providers.simulator.call import CarrierCall
from dialer.providers.simulator.course import Course, ReportFaults
from dialer.providers.simulator.instants import MILLISECOND, SECOND
from dialer.providers.simulator.profile import NetworkProfile

REPEATED_AFTER = SECOND


def lay_out_reports(
    call: CarrierCall, course: Course, profile: NetworkProfile
) -> tuple[tuple[EventKind, int, int], ...]:
    """Return the deliveries: of a lost report none, of a repeated one two."""
    late = round(profile.faults.late_seconds / profile.speed * SECOND)
    again = round(REPEATED_AFTER / profile.speed)
    faults = dict(zip(EventKind, course.reports, strict=True))
    found: list[tuple[EventKind, int, int]] = []
    following: int | None = None
    for kind, at in reversed(tuple(call.steps())):
        following = _arrival(at + late * faults[kind].late, faults[kind], following)
        copies = 0 if faults[kind].lost else 1 + faults[kind].repeated
        found[:0] = [(kind, copy, following + copy * again) for copy in range(copies)]
    return tuple(found)


def _arrival(due: int, faults: ReportFaults, following: int | None) -> int:
    """Hold a reordered report back until the one that should follow it has come."""
    return max(due, following + MILLISECOND) if faults.reordered and following is not None else due
