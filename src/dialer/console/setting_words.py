"""What settings are called on the pages, how their values are written, and what a change does to calls in progress."""

from collections.abc import Callable, Mapping
from datetime import datetime, time
from typing import Any

from markupsafe import Markup

from dialer.console import formats
from dialer.console.week import DAYS

LABELS = {
    "timezone": "Time zone of the batch",
    "start_time": "Calls start at",
    "end_time": "Calls end at",
    "working_days": "Days",
    "calling_hours": "Hours of each day",
    "excluded_dates": "Dates without calls",
    "holidays": "Public holidays without calls",
    "phone_number_ids": "Outbound numbers",
    "phone_rotation_strategy": "Rotation of the numbers",
    "max_concurrent_calls": "Calls at once",
    "max_calls_per_day": "Calls per day",
    "ring_timeout_seconds": "Rings for (seconds)",
    "max_call_seconds": "Longest call (seconds)",
    "retry_failed": "Calls again who was not reached",
    "max_retry_attempts": "Retries",
    "retry_delays": "Minutes before a retry",
    "retry_machine": "Calls again where a machine answered",
    "expires_at": "Expires",
    "priority": "Priority",
    "person_limits": "Calls per person",
}
_HOURS = "go on to their end, also outside the new hours"
_NUMBERS = "go on with the number that they have"
_RETRIES = "go on; when one ends, the new rules decide whether its contact is called again"
# What happens to the calls in progress when a setting changes: "Calls in progress …".
_IN_PROGRESS = {
    "timezone": _HOURS,
    "start_time": _HOURS,
    "end_time": _HOURS,
    "working_days": _HOURS,
    "calling_hours": _HOURS,
    "excluded_dates": _HOURS,
    "holidays": _HOURS,
    "phone_number_ids": _NUMBERS,
    "phone_rotation_strategy": _NUMBERS,
    "max_concurrent_calls": "all go on; a new one starts when fewer are in progress than the new limit",
    "max_calls_per_day": "go on; they count toward their day",
    "ring_timeout_seconds": "ring as long as before; new calls ring as long as the new limit says",
    "max_call_seconds": "are hung up when they last longer than the new limit",
    "retry_failed": _RETRIES,
    "max_retry_attempts": _RETRIES,
    "retry_delays": _RETRIES,
    "retry_machine": _RETRIES,
    "expires_at": "go on, also past the expiry",
}


def label(name: str) -> str:
    """Return what a setting is called; a new one by its own name."""
    return LABELS.get(name, name)


def in_progress(name: str) -> str:
    """Say what becomes of the calls in progress when this setting changes."""
    return "Calls in progress " + _IN_PROGRESS.get(name, "go on")


def value(name: str, stored: Any, zone: str, numbers: Mapping[str, str]) -> str | Markup:
    """Write a value of a setting. `zone`: in which times are shown. `numbers`: id -> outbound number."""
    if stored in (None, [], {}):
        return "those of the agent" if name == "phone_number_ids" else "none"
    if write := _WRITERS.get(name):
        return write(stored)
    match stored:
        case bool():
            return "yes" if stored else "no"
        case datetime():
            return formats.when(stored, zone)
        case time():
            return f"{stored:%H:%M}"
        case list():
            return ", ".join(numbers.get(str(each), str(each)) for each in stored)
        case _:
            return str(stored).replace("_", " ")


def _hours(stored: Mapping[str, list[list[str]]]) -> str:
    return "; ".join(
        f"{DAYS[int(day) - 1]} {', '.join(' to '.join(interval) for interval in intervals)}"
        for day, intervals in sorted(stored.items())
    )


_WRITERS: Mapping[str, Callable[[Any], str]] = {
    "timezone": str,
    "working_days": lambda stored: ", ".join(DAYS[day - 1] for day in sorted(stored)),
    "calling_hours": _hours,
    "holidays": lambda stored: " ".join(filter(None, (stored["country"], stored["region"]))),
    "retry_delays": lambda stored: ", ".join(
        f"{outcome.replace('_', ' ')} {minutes:g}" for outcome, minutes in sorted(stored.items())
    ),
    "person_limits": lambda stored: ", ".join(
        f"{each['attempts']} in {formats.count_of(each['hours'], 'hour')}" for each in stored
    ),
}
