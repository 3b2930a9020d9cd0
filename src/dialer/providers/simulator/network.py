"""A telephone network in memory: it takes calls, lets them ring and end, and reports on them, well or badly.

In: requests and the present moment. Out: placements, sightings and reports, and a log of what truly happened, by which
anyone can be judged. The course of each call depends on the profile's seed, the number and how often that number was
asked for, on nothing else. It never protects its users: the same attempt placed twice rings twice.
"""

import sys
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
from dialer.providers.simulator.call import CarrierCall, plan_call
from dialer.providers.simulator.capacity import RATE_EXCEEDED
from dialer.providers.simulator.course import Course, PlacementFault, draw_course
from dialer.providers.simulator.instants import MILLISECOND, from_micros, to_micros
from dialer.providers.simulator.journal import Journal
from dialer.providers.simulator.outbox import COPIES, Delivery
from dialer.providers.simulator.profile import NetworkProfile
from dialer.providers.simulator.reports import lay_out_reports
from dialer.providers.simulator.state import (
    Acknowledged,
    Book,
    Change,
    Forgotten,
    HungUp,
    Opened,
    OverLimit,
    Requested,
    call_id,
)

UNANSWERED = Unclear("the network did not answer")
REFUSALS = {PlacementFault.REFUSED: "switch_congestion", PlacementFault.SERVER_ERROR: RefusalCause.SERVER_ERROR}


class SimulatedNetwork:
    """One trunk's network. `profile` may be replaced: calls that exist keep their course.

    With a `journal` a new network on the same file knows all that this one knew. `max_log` bounds the memory: beyond it
    the oldest calls that have ended and been reported are forgotten.
    """

    def __init__(self, profile: NetworkProfile, journal: Path | None = None, max_log: int | None = None) -> None:
        self.profile = profile
        self._max_log = max_log
        self._book = Book(max_log)
        self._journal = Journal(journal) if journal else None
        if self._journal:
            for change in self._journal.read():
                self._book.apply(change)
            self._journal.rewrite(self._book.changes())

    @property
    def log(self) -> Sequence[CarrierCall]:
        """Every call that existed, in the order of placing; the times of one still up lie partly ahead."""
        return tuple(self._book.calls.values())

    @property
    def over_limit(self) -> Sequence[OverLimit]:
        """The requests that were refused because they exceeded the network's own limits, in their order."""
        return tuple(self._book.over_limit)

    def place(self, request: CallRequest, now: DateTime) -> Placement:
        """Take one call, or refuse it, or say nothing (`Unclear`), as the profile has it."""
        moment = to_micros(now)
        if refusal := self._refusal(request, now):
            return refusal
        nth = self._book.requests.get(request.to_number, 0) + 1
        course = draw_course(self.profile, request.to_number, nth)
        self._commit(Requested(request.to_number, nth))
        if course.fault in REFUSALS:
            return Refused(REFUSALS[course.fault], CauseClass.INFRASTRUCTURE)
        if course.fault is PlacementFault.TIMEOUT_BEFORE:
            return UNANSWERED
        call = self._open(request, course, moment)
        self._forget(moment)
        return UNANSWERED if course.fault is PlacementFault.TIMEOUT_AFTER else Placed(call.call_id)

    def look_up(self, attempt_id: AttemptId, now: DateTime) -> LookupResult:
        """Tell all that has happened so far; of an attempt that was placed twice, tell of the first call."""
        moment = to_micros(now)
        call = next(self._book.of_attempt(attempt_id), None)
        if call:
            happened = [kind for kind, at in call.steps() if at <= moment]
            return Seen(call.call_id, tuple(call.event(kind) for kind in happened))
        return LookupFailed("calls of that age are no longer known") if self._may_be_forgotten(attempt_id) else Absent()

    def hang_up(self, attempt_id: AttemptId, now: DateTime) -> None:
        """End every call of this attempt that is up."""
        moment = to_micros(now)
        for call in tuple(self._book.of_attempt(attempt_id)):
            if call.placed <= moment < call.ended:
                self._commit(HungUp(call.call_id, moment))

    def due(self, now: DateTime) -> list[CallEvent]:
        """Return the reports whose time has come, in order; the same again until they are acknowledged."""
        self.put_back(tuple(self._book.outbox.out()))
        return [self.event(delivery) for delivery in self.take(now)]

    def acknowledge(self, keys: Iterable[str]) -> None:
        """Take these reports as received: every copy that was returned, not the copies still to come."""
        out = self._book.outbox.out()
        names = (f"{key}#{copy}" for key in keys for copy in range(COPIES))
        self.confirm([name for name in names if name in out])

    def next_due(self) -> DateTime | None:
        """Say when the next report falls due that was not yet returned."""
        due = self._book.outbox.next_due()
        return None if due is None else from_micros(due)

    def take(self, now: DateTime, limit: int = sys.maxsize) -> list[Delivery]:
        """Hand out deliveries that are due, each to one taker, who must `confirm` it or `put_back` it."""
        return self._book.outbox.take(to_micros(now), limit)

    def event(self, delivery: Delivery) -> CallEvent:
        return self._book.calls[delivery.call_id].event(delivery.kind)

    def confirm(self, deliveries: Sequence[str]) -> None:
        if deliveries:
            self._commit(Acknowledged(tuple(deliveries)))

    def put_back(self, deliveries: Iterable[str]) -> None:
        self._book.outbox.put_back(deliveries)

    def close(self) -> None:
        """Close the journal, if there is one."""
        if self._journal:
            self._journal.close()

    def _commit(self, change: Change) -> None:
        if self._journal:
            self._journal.append(change)
        self._book.apply(change)

    def _refusal(self, request: CallRequest, now: DateTime) -> Refused | None:
        if now >= request.place_by or (request.ring_by is not None and now >= request.ring_by):
            return TOO_LATE
        moment, capacity = to_micros(now), self._book.capacity
        limit = capacity.exceeded(self.profile, moment)
        if limit is None:
            return None
        self._commit(OverLimit(request.attempt_id, limit, moment))
        if limit == RATE_EXCEEDED:
            return Refused(limit, CauseClass.RATE, capacity.retry_after(moment))
        return Refused(limit, CauseClass.INFRASTRUCTURE)

    def _open(self, request: CallRequest, course: Course, moment: int) -> CarrierCall:
        nth = sum(1 for _ in self._book.of_attempt(request.attempt_id)) + 1
        call = plan_call(request, course, call_id(request.attempt_id, nth), moment, self.profile.speed)
        self._commit(Opened(call, lay_out_reports(call, course, self.profile)))
        return call

    def _forget(self, moment: int) -> None:
        calls = self._book.calls
        while self._max_log is not None and len(calls) > self._max_log:
            oldest = next(iter(calls.values()))
            if oldest.ended > moment or self._book.outbox.of_call(oldest.call_id):
                return
            self._commit(Forgotten(oldest.call_id, oldest.placed))

    def _may_be_forgotten(self, attempt_id: AttemptId) -> bool:
        until = self._book.forgotten_until
        if until is None or attempt_id.version != 7:
            return until is not None
        # An attempt has its id, which holds the millisecond of its making, before it is placed.
        return attempt_id.int >> 80 <= until // MILLISECOND
