"""Until when a request may leave, and how long its call may ring."""

from collections.abc import Callable
from dataclasses import replace

from pendulum import DateTime

from dialer.providers.base import CallRequest

CallRequests = Callable[..., CallRequest]


def test_a_ring_time_ends_with_the_window_also_when_the_request_leaves_a_second_later(
    start: DateTime, call_request: CallRequests
) -> None:
    request = call_request(start, ring_timeout_seconds=45, ring_by=start.add(seconds=20))
    assert request.ring_seconds(start) == 19
    assert request.stale_at(start) == start.add(seconds=1)
    far = call_request(start, ring_timeout_seconds=45, ring_by=start.add(hours=1))
    assert far.ring_seconds(start) == 45
    assert far.stale_at(start) == far.leave_by == far.place_by


def test_a_request_leaves_by_the_end_of_its_window_where_that_is_sooner(
    start: DateTime, call_request: CallRequests
) -> None:
    by = start.add(seconds=10)
    assert call_request(start, place_by=by).leave_by == by
    assert call_request(start, place_by=by, ring_by=by.add(seconds=1)).leave_by == by
    assert call_request(start, place_by=by.add(seconds=1), ring_by=by).leave_by == by


def test_a_request_leaves_while_what_permitted_it_surely_still_does(
    start: DateTime, call_request: CallRequests
) -> None:
    permitted = replace(call_request(start, ring_by=start.add(hours=1)), permitted_until=start.add(seconds=1))
    assert permitted.leave_by == permitted.stale_at(start) == start.add(seconds=1)
