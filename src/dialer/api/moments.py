"""Times in the query of a request."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Query
from pendulum import DateTime

from dialer.domain.timezones import moment_of
from dialer.errors import InvalidInput
from dialer.service.fields import Moment


def _since(
    since: Annotated[
        Moment | None, Query(description="Only those created at this time or later; without an offset in UTC.")
    ] = None,
) -> DateTime | None:
    return _in_utc("since", since)


def _until(
    until: Annotated[
        Moment | None, Query(description="Only those created before this time; without an offset in UTC.")
    ] = None,
) -> DateTime | None:
    return _in_utc("until", until)


def _in_utc(name: str, at: datetime | None) -> DateTime | None:
    if at is None:
        return None
    try:
        return moment_of(at, "UTC")
    except (ValueError, OverflowError):
        raise InvalidInput.of(name, "is no moment between the years 1 and 9999") from None


Since = Annotated[DateTime | None, Depends(_since)]
Until = Annotated[DateTime | None, Depends(_until)]
