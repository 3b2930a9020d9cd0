"""When rescue asks about a call: on a rhythm that follows how long conversations last."""

from random import Random
from statistics import median

import pytest

from dialer.domain.states import AttemptState
from dialer.domain.timeouts import FIRST_ASK_SECONDS, LAST_ASK_SECONDS, RESCUE_AFTER, ask_after, typical_talk


@pytest.mark.parametrize("state", [state for state in AttemptState if state is not AttemptState.ANSWERED])
def test_only_answered_calls_are_asked_about_by_how_long_conversations_last(state: AttemptState) -> None:
    assert ask_after(state, 200.0) == ask_after(state, None) == RESCUE_AFTER[state]


@pytest.mark.parametrize(
    ("talk_seconds", "seconds"),
    [(None, 120), (1.0, FIRST_ASK_SECONDS), (15.0, 30), (90.0, 180), (300.0, 600), (4000.0, LAST_ASK_SECONDS)],
)
def test_an_answered_call_is_asked_about_at_twice_a_typical_conversation(
    talk_seconds: float | None, seconds: float
) -> None:
    assert ask_after(AttemptState.ANSWERED, talk_seconds) == seconds


def test_the_first_conversation_is_typical_and_none_is_shorter_than_a_second() -> None:
    assert typical_talk(None, 42.0) == 42
    assert typical_talk(None, 0.2) == 1
    assert typical_talk(1.0, 0.2) == 1


def test_one_conversation_changes_little_and_equal_ones_are_met_exactly() -> None:
    assert typical_talk(60.0, 5000.0) == pytest.approx(66)
    assert typical_talk(60.0, 1.0) == pytest.approx(60 / 1.1)
    assert typical_talk(60.0, 62.0) == 62
    assert typical_talk(60.0, 60.0) == 60


@pytest.mark.parametrize("seed", range(5))
def test_it_stays_near_the_median_of_conversations_however_long_some_are(seed: int) -> None:
    rng = Random(seed)
    talks = [rng.expovariate(1 / 120) if rng.random() < 0.95 else 7200.0 for _ in range(2_000)]
    typical = None
    seen = []
    for talk in talks:
        typical = typical_talk(typical, talk)
        seen.append(typical)
    assert median(talks) / 1.5 < median(seen[500:]) < median(talks) * 1.5
