"""The events that providers report about calls."""

from uuid import UUID

import pendulum
import pytest

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId

ATTEMPT = AttemptId(UUID("018F0000-0000-7000-8000-00000000000A"))


@pytest.mark.parametrize("kind", EventKind)
def test_the_key_of_an_event_is_the_one_that_is_stored(kind: EventKind) -> None:
    event = CallEvent.of(ATTEMPT, kind, pendulum.datetime(2026, 3, 2), provider_call_id="CA1")
    assert event.key == f"018f0000-0000-7000-8000-00000000000a:{kind.value}"
    assert (event.attempt_id, event.kind, event.provider_call_id) == (ATTEMPT, kind, "CA1")
