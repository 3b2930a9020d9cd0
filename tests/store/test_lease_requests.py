"""The language of the scripts in Redis, without a server."""

import pendulum

from dialer.store.lease_requests import milliseconds


def test_a_moment_is_told_in_whole_milliseconds_and_none_of_them_is_lost() -> None:
    # Through a float this one would lose a millisecond.
    assert milliseconds(pendulum.from_timestamp(2_150_000_000).add(microseconds=2_000)) == 2_150_000_000_002
