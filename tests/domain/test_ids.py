"""UUID version 7 (RFC 9562, section 5.7), made from a clock and a source of chance that are given."""

from random import Random
from uuid import RFC_4122

import pendulum
from hypothesis import example, given
from hypothesis import strategies as st
from pendulum import DateTime

from dialer.domain.ids import uuid7

MICROSECONDS = st.integers(0, 4_000_000_000 * 10**6)
SEEDS = st.integers(0, 2**64)


def moment(microseconds: int) -> DateTime:
    return pendulum.from_timestamp(microseconds // 10**6).add(microseconds=microseconds % 10**6)


@given(MICROSECONDS, SEEDS)
# Through a float this one would lose a millisecond.
@example(2150000000002 * 1000, 0)
def test_an_id_is_of_version_7_and_holds_the_millisecond_of_its_creation(microseconds: int, seed: int) -> None:
    made = uuid7(moment(microseconds), Random(seed))
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == microseconds // 1000


@given(MICROSECONDS, st.integers(1000, 10**9), SEEDS)
def test_an_id_made_a_millisecond_later_or_more_sorts_behind(microseconds: int, later: int, seed: int) -> None:
    rng = Random(seed)
    first, second = uuid7(moment(microseconds), rng), uuid7(moment(microseconds + later), rng)
    assert first < second
    assert str(first) < str(second)


def test_the_other_74_bits_come_from_chance() -> None:
    now, rng = moment(10**15), Random(1)
    made = [uuid7(now, rng).int for _ in range(200)]
    ever_set, always_set = 0, (1 << 128) - 1
    for number in made:
        ever_set, always_set = ever_set | number, always_set & number
    assert (ever_set & ~always_set).bit_count() == 74
    assert len(set(made)) == 200


def test_the_same_clock_and_seed_give_the_same_id() -> None:
    now = moment(10**15)
    assert uuid7(now, Random(3)) == uuid7(now, Random(3))
    assert uuid7(now, Random(3)) == uuid7(now.in_timezone("Asia/Tokyo"), Random(3))
