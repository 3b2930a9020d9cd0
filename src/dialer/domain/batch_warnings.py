"""Settings of a batch that are valid and probably not meant: they have no effect, or another one than one expects."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from pendulum import DateTime

from dialer.domain.calling_hours import WrittenHours
from dialer.domain.timezones import moment_of

# Abbreviations that are zones without daylight saving time, and the zone that people mean by them.
MEANT_BY = {"EST": "America/New_York", "MST": "America/Denver", "HST": "Pacific/Honolulu"}


# How far ahead days are looked at on which the clock is put forward.
DAYS_AHEAD = 366


@dataclass(frozen=True, slots=True)
class BatchWarning:
    """`field`: of the batch. `message` completes a sentence that begins with the field's name."""

    field: str
    message: str


def warnings_about(
    batch: Mapping[str, Any], now: DateTime, given: Mapping[str, Any] | None = None
) -> Iterator[BatchWarning]:
    """Yield what is probably not meant. `batch`: its settings by the names of the API. `given`: those of the request,
    with times as they were written.
    """
    if not batch["retry_failed"]:
        for field in ("max_retry_attempts", "retry_delays", "retry_machine"):
            if batch[field]:
                yield BatchWarning(field, "has no effect while retry_failed is false")
    elif not batch["max_retry_attempts"]:
        yield BatchWarning("retry_failed", "has no effect while max_retry_attempts is 0")
    zone = batch["timezone"]
    if zone in MEANT_BY:
        yield BatchWarning("timezone", f"has no daylight saving time; {MEANT_BY[zone]} is the zone of a place")
    elif zone.startswith("Etc/GMT") and zone.removeprefix("Etc/GMT").strip("+-0"):
        side = "behind" if "+" in zone else "ahead of"
        yield BatchWarning(
            "timezone", f"is {side} UTC, against what its sign suggests, and has no daylight saving time"
        )
    yield from _about_window(batch, now)
    for field in ("scheduled_at", "expires_at"):
        yield from _about_moment(field, (given or {}).get(field), zone)


def _about_window(batch: Mapping[str, Any], now: DateTime) -> Iterator[BatchWarning]:
    """Warn of the next day on which a time of the calling window is skipped by the clock."""
    zone = batch["timezone"]
    for field in ("start_time", "end_time", "calling_hours"):
        for day in _days_put_forward(zone, now.date()):
            at = next((at for at in _times_on(day, batch[field]) if _is_skipped(day, at, zone)), None)
            if at is not None:
                yield BatchWarning(
                    field,
                    f"{at:%H:%M} does not exist on {day} in {zone}, where the clock is put forward; "
                    "the first moment after it counts",
                )
                break


def _times_on(day: date, times: time | WrittenHours | None) -> Iterator[time]:
    """Yield the times at which a window begins or ends on a day. An interval that ends before it begins ends on the
    next day; 24:00 is no time that can be skipped, but the end of the day.
    """
    if isinstance(times, time):
        yield times
        return
    for written_on, is_day_before in ((day, False), (day - timedelta(days=1), True)):
        for begin, end in (times or {}).get(str(written_on.isoweekday()), ()):
            if not is_day_before:
                yield time.fromisoformat(begin)
            if (end <= begin) is is_day_before and end != "24:00":
                yield time.fromisoformat(end)


def _about_moment(field: str, written: object, zone: str) -> Iterator[BatchWarning]:
    """Warn of a time without an offset that the clock skips."""
    try:
        at = datetime.fromisoformat(str(written))
        if at.tzinfo is None and _is_skipped(at.date(), at.time(), zone):
            used = moment_of(at, zone).in_timezone(zone)
            yield BatchWarning(
                field,
                f"{at:%H:%M} does not exist on {at:%Y-%m-%d} in {zone}, where the clock is put forward; "
                f"{used:%H:%M} is used",
            )
    except (ValueError, OverflowError):
        return


@lru_cache(maxsize=1024)
def _days_put_forward(zone: str, first: date) -> tuple[date, ...]:
    """Find the days, in the year from this one on, in which the clock is put forward."""
    info, midnight = ZoneInfo(zone), datetime.combine(first, time())
    offsets = [(midnight + timedelta(days=day)).replace(tzinfo=info).utcoffset() for day in range(DAYS_AHEAD + 1)]
    assert all(offset is not None for offset in offsets)
    return tuple(
        first + timedelta(days=day)
        for day in range(DAYS_AHEAD)
        if offsets[day] < offsets[day + 1]  # type: ignore[operator]
    )


def _is_skipped(day: date, at: time, zone: str) -> bool:
    local = datetime.combine(day, at.replace(tzinfo=None), ZoneInfo(zone))
    return local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) != local.replace(tzinfo=None)
