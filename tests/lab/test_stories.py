"""A fixed set of stories, told anew at every change. More of them: `make lab SEEDS=1-200`."""

import pytest

from lab.play import Cast, play
from lab.story import KINDS, Story

pytestmark = pytest.mark.timeout(240)

CHUNK = 10
SEEDS = range(1, 41)
# Stories that were broken once, and what was wrong with the engine.
REGRESSIONS: dict[str, Story] = {}


@pytest.mark.parametrize("first", SEEDS[::CHUNK])
def test_no_promise_is_broken_whatever_dies_whenever(first: int, cast: Cast) -> None:
    broken = {seed: found.broken for seed in range(first, first + CHUNK) if (found := play(Story(seed), cast)).broken}
    assert broken == {}, f"again: make lab SEEDS={min(broken)}"


@pytest.mark.parametrize("was", REGRESSIONS)
def test_what_was_broken_once_stays_whole(was: str, cast: Cast) -> None:
    assert play(REGRESSIONS[was], cast).broken == ()


def test_a_story_is_the_same_each_time_it_is_played(cast: Cast) -> None:
    for seed in (3, 7, 16):
        first, second = play(Story(seed), cast), play(Story(seed), cast)
        assert first.digest == second.digest
        assert first.touches > 100


def test_every_kind_of_fault_strikes_somewhere(cast: Cast) -> None:
    told = "\n".join(line for seed in range(1, 31) for line in play(Story(seed), cast).told)
    missing = {kind for kind in KINDS if kind not in told} - {"clock", "lies", "operator", "task again", "task lost"}
    assert missing == set()
