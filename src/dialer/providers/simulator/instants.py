"""Moments as whole microseconds since 1970, in which hundreds of thousands of calls stay small and compare exactly."""

import pendulum
from pendulum import DateTime

SECOND = 1_000_000
MILLISECOND = 1_000


def to_micros(moment: DateTime) -> int:
    return moment.int_timestamp * SECOND + moment.microsecond


def from_micros(micros: float) -> DateTime:
    return pendulum.from_timestamp(micros / SECOND)
