"""A telephone network in memory: it accepts calls, lets them ring and end, and reports them, with faults on demand.

In: requests and the current time. Out: placements, look-up results and reports, and a log of what really happened, for
tests to compare with. The script of a call depends on the profile's seed, the number and how often that number was
requested, and on nothing else. The network does not protect its users: an attempt that is placed twice rings twice.
"""

import sys
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.providers.base import (
    TOO_LATE,
    Absent,
    CallRequest,
    LookupFailed,
    LookupResult,
    Placed,
    Placement,
    Refused,
    Seen,
    Unclear,
)
from dialer.providers.simulator.call import (
    MILLISECOND,
    SECOND,
    CallScript,
    CarrierCall,
    PlacementFault,
    draw_script,
    from_micros,
    plan_call,
    schedule_reports,
    to_micros,
)
from dialer.providers.simulator.config import NetworkProfile
from dialer.providers.simulator.journal import Journal
from dialer.providers.simulator.state import (
    COPIES,
    RATE_EXCEEDED,
    Acknowledged,
    Change,
    Delivery,
    Forgotten,
    HungUp,
    NetworkState,
    Opened,
    OverLimit,
    Requested,
    call_id,
)

UNANSWERED = Unclear("the network did not answer")
REFUSALS = {PlacementFault.REFUSED: "switch_congestion", PlacementFault.SERVER_ERROR: RefusalCause.SERVER_ERROR}


class SimulatedNetwork:
    """One trunk's network. `profile` may be replaced: calls that exist keep their script.

    With a `journal`, a new network on the same file has the same state. `max_log` bounds the memory: beyond it, the
    oldest calls that have ended and been reported are removed.
    """

    def __init__(self, profile: NetworkProfile, journal: Path | None = None, max_log: int | None = None) -> None:
        self.profile = profile
        self._max_log = max_log
        self._state = NetworkState(max_log)
        self._journal = Journal(journal) if journal else None
        if self._journal:
            for change in self._journal.read():
                self._state.apply(change)
            self._journal.rewrite(self._state.changes())

    @property
    def log(self) -> Sequence[CarrierCall]:
        """Every call that existed, in the order of placing; the times of a call that is up may lie in the future."""
        return tuple(self._state.calls.values())

    @property
    def over_limit(self) -> Sequence[OverLimit]:
        """The requests that were refused because they exceeded the network's limits, oldest first."""
        return tuple(self._state.over_limit)

    def place(self, request: CallRequest, now: DateTime) -> Placement:
        """Accept one call, refuse it, or do not answer (`Unclear`), as the profile says."""
        moment = to_micros(now)
        if refusal := self._refusal(request, now):
            return refusal
        nth = self._state.requests.get(request.to_number, 0) + 1
        script = draw_script(self.profile, request.to_number, nth)
        self._commit(Requested(request.to_number, nth))
        if script.fault in REFUSALS:
            return Refused(REFUSALS[script.fault], CauseClass.INFRASTRUCTURE)
        if script.fault is PlacementFault.TIMEOUT_BEFORE:
            return UNANSWERED
        call = self._open(request, script, moment)
        self._forget(moment)
        return UNANSWERED if script.fault is PlacementFault.TIMEOUT_AFTER else Placed(call.call_id)

    def look_up(self, attempt_id: AttemptId, now: DateTime) -> LookupResult:
        """Return all that has happened so far; of an attempt that was placed twice, in the first call."""
        moment = to_micros(now)
        call = next(self._state.of_attempt(attempt_id), None)
        if call:
            happened = [kind for kind, at in call.steps() if at <= moment]
            return Seen(call.call_id, tuple(call.event(kind) for kind in happened))
        return LookupFailed("calls of that age are no longer known") if self._may_be_forgotten(attempt_id) else Absent()

    def hang_up(self, attempt_id: AttemptId, now: DateTime) -> None:
        """End every call of this attempt that is up."""
        moment = to_micros(now)
        for call in tuple(self._state.of_attempt(attempt_id)):
            if call.placed <= moment < call.ended:
                self._commit(HungUp(call.call_id, moment))

    def due(self, now: DateTime) -> list[CallEvent]:
        """Return the reports that are due, in order; the same again until they are acknowledged."""
        self.put_back(tuple(self._state.outbox.taken()))
        return [self.event(delivery) for delivery in self.take(now)]

    def acknowledge(self, keys: Iterable[str]) -> None:
        """Confirm these reports: every copy that was returned, not the copies that are due later."""
        taken = self._state.outbox.taken()
        names = (f"{key}#{copy}" for key in keys for copy in range(COPIES))
        self.confirm([name for name in names if name in taken])

    def next_due(self) -> DateTime | None:
        """Return when the next report is due that was not yet taken."""
        due = self._state.outbox.next_due()
        return None if due is None else from_micros(due)

    def take(self, now: DateTime, limit: int = sys.maxsize) -> list[Delivery]:
        """Take deliveries that are due; the caller must `confirm` or `put_back` each."""
        return self._state.outbox.take(to_micros(now), limit)

    def event(self, delivery: Delivery) -> CallEvent:
        return self._state.calls[delivery.call_id].event(delivery.kind)

    def confirm(self, deliveries: Sequence[str]) -> None:
        if deliveries:
            self._commit(Acknowledged(tuple(deliveries)))

    def put_back(self, deliveries: Iterable[str]) -> None:
        self._state.outbox.put_back(deliveries)

    def close(self) -> None:
        """Close the journal, if there is one."""
        if self._journal:
            self._journal.close()

    def _commit(self, change: Change) -> None:
        if self._journal:
            self._journal.append(change)
        self._state.apply(change)

    def _refusal(self, request: CallRequest, now: DateTime) -> Refused | None:
        if now >= request.place_by or (request.ring_by is not None and now >= request.ring_by):
            return TOO_LATE
        moment, capacity = to_micros(now), self._state.capacity
        limit = capacity.exceeded(self.profile, moment)
        if limit is None:
            return None
        self._commit(OverLimit(request.attempt_id, limit, moment))
        if limit == RATE_EXCEEDED:
            return Refused(limit, CauseClass.RATE, capacity.retry_after(moment))
        return Refused(limit, CauseClass.INFRASTRUCTURE)

    def _open(self, request: CallRequest, script: CallScript, moment: int) -> CarrierCall:
        nth = sum(1 for _ in self._state.of_attempt(request.attempt_id)) + 1
        call = plan_call(request, script, call_id(request.attempt_id, nth), moment, self.profile.speed)
        self._commit(Opened(call, schedule_reports(call, script, self.profile)))
        return call

    def _forget(self, moment: int) -> None:
        calls = self._state.calls
        while self._max_log is not None and len(calls) > self._max_log:
            oldest = next(iter(calls.values()))
            if oldest.ended > moment or self._state.outbox.of_call(oldest.call_id):
                return
            self._commit(Forgotten(oldest.call_id, oldest.placed))

    def _may_be_forgotten(self, attempt_id: AttemptId) -> bool:
        until = self._state.forgotten_until
        if until is None or attempt_id.version != 7:
            return until is not None
        # The id of an attempt (UUIDv7) holds the millisecond of its creation, which is before its placement.
        return attempt_id.int >> 80 <= until // MILLISECOND


def most_in_any_second(moments: Iterable[int]) -> int:
    """Return how many of these times, in microseconds, lie at most within one second, whenever it begins."""
    last: deque[int] = deque()
    most = 0
    for moment in sorted(moments):
        while last and last[0] <= moment - SECOND:
            last.popleft()
        last.append(moment)
        most = max(most, len(last))
    return most
