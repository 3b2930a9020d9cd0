"""Requests to place, for the tests of all providers."""

from collections.abc import Callable
from itertools import count
from random import Random

import pendulum
import pytest
from pendulum import DateTime

from dialer.domain.ids import AttemptId, uuid7
from dialer.providers.base import CallRequest

CallRequests = Callable[..., CallRequest]


@pytest.fixture
def start() -> DateTime:
    return pendulum.datetime(2026, 3, 2, 9, 0)


@pytest.fixture
def call_request() -> CallRequests:
    """Make requests: each with an attempt and a number of its own, unless told."""
    numbers = count(1)
    rng = Random(7)

    def make(
        now: DateTime,
        to_number: str | None = None,
        attempt_id: AttemptId | None = None,
        ring_timeout_seconds: float = 30.0,
        place_by: DateTime | None = None,
        ring_by: DateTime | None = None,
        detect_machine: bool = False,
    ) -> CallRequest:
        return CallRequest(
            attempt_id=attempt_id or AttemptId(uuid7(now, rng)),
            to_number=to_number or f"+4930{next(numbers):07}",
            from_number="+49301000",
            connection={},
            ring_timeout_seconds=ring_timeout_seconds,
            place_by=place_by or now.add(seconds=20),
            ring_by=ring_by,
            detect_machine=detect_machine,
        )

    return make
