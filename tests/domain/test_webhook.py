"""When webhook messages are sent again, and what is sent."""

import json
from random import Random
from uuid import UUID

import pendulum
from hypothesis import given
from hypothesis import strategies as st

from dialer.domain.webhook import (
    FAILING_AFTER,
    FIRST_RETRY_SECONDS,
    JITTER,
    LAST_PAUSE_SECONDS,
    LAST_RETRY_SECONDS,
    Answer,
    Message,
    WebhookEvent,
    failures_in_a_row,
    pause_seconds,
    retry_seconds,
)

SEEDS = st.integers(0, 2**32)


@given(st.integers(1, 10_000), SEEDS)
def test_delays_double_within_bounds_and_vary(tries: int, seed: int) -> None:
    middle = min(FIRST_RETRY_SECONDS * 2 ** min(tries - 1, 30), LAST_RETRY_SECONDS)
    assert (1 - JITTER) * middle <= retry_seconds(tries, Random(seed)) <= (1 + JITTER) * middle


@given(st.integers(0, 10_000), SEEDS)
def test_an_endpoint_is_left_alone_only_after_several_failures_and_never_for_long(failures: int, seed: int) -> None:
    pause = pause_seconds(failures, Random(seed))
    assert (pause > 0) == (failures >= FAILING_AFTER)
    assert pause <= (1 + JITTER) * LAST_PAUSE_SECONDS


@given(st.integers(0, 100), st.lists(st.booleans()))
def test_failures_in_a_row_are_those_since_the_last_success(before: int, successes: list[bool]) -> None:
    expected = before
    for is_success in successes:
        expected = 0 if is_success else expected + 1
    answers = [Answer(None, None if is_success else "x") for is_success in successes]
    assert failures_in_a_row(before, answers) == expected


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text()), st.integers(1, 10**9))
def test_a_message_is_the_same_at_every_try_and_has_its_number(data: dict[str, object], sequence: int) -> None:
    at = pendulum.datetime(2026, 3, 2, 8, 0)
    messages = [
        Message(1, UUID(int=1), WebhookEvent.CALL_ENDED, UUID(int=2), sequence, at, attempts, data)
        for attempts in (0, 5)
    ]
    assert messages[0].body == messages[1].body
    assert json.loads(messages[0].body) == {
        "type": "call.ended",
        "timestamp": "2026-03-02T08:00:00Z",
        "data": data | {"sequence": sequence},
    }
