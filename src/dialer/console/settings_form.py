"""The settings of a batch as the fields of a form, and back. The service checks them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pendulum import DateTime

from dialer.console import formats
from dialer.console.batches import MOST_CHOICES
from dialer.console.visitor import Form, Visitor
from dialer.console.week import Week, week_of
from dialer.domain.calling_hours import WEEKDAYS
from dialer.domain.retry import DEFAULT_DELAY_MINUTES
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.domain.timezones import known_zones
from dialer.errors import InvalidInput
from dialer.service import resources
from dialer.service.new_batch import LiveSettings
from dialer.service.phone_numbers import PHONE_NUMBER_TYPE

_WEEK = ("timezone", "start_time", "end_time", "working_days", "calling_hours", "excluded_dates", "holidays")
_REQUIRED = ("timezone", "max_concurrent_calls", "priority", "phone_rotation_strategy")
_OPTIONAL = (
    "start_time",
    "end_time",
    "max_calls_per_day",
    "ring_timeout_seconds",
    "max_call_seconds",
    "expires_at",
)
# As the API names them, written as 3/24: 3 attempts in 24 hours.
_LIMIT = ("attempts", "hours")
_DELAYS = tuple(outcome.value for outcome in DEFAULT_DELAY_MINUTES)


@dataclass(frozen=True, slots=True)
class Choices:
    """What can be chosen. `numbers`: id -> outbound number, those that are chosen first and in their order."""

    numbers: Mapping[str, str]
    strategies: Sequence[str]
    zones: Sequence[str]
    delays: Mapping[str, int]


def choices(visitor: Visitor, chosen: Sequence[Any] = ()) -> Choices:
    """Read what can be chosen. `chosen`: the ids of the numbers that are chosen, which are shown even if inactive."""
    caller, order = visitor.caller, [str(each) for each in chosen]
    rows, _ = resources.list_page(caller.db, PHONE_NUMBER_TYPE, caller.workspace_id, {}, MOST_CHOICES, 0)
    written = {
        str(row["id"]): row["phone_number"] + ("" if row["status"] == "active" else " (inactive)")
        for row in rows
        if row["status"] == "active" or str(row["id"]) in order
    }
    numbers = {number_id: written[number_id] for number_id in order if number_id in written} | written
    delays = {outcome.value: minutes for outcome, minutes in DEFAULT_DELAY_MINUTES.items()}
    return Choices(numbers, list(RotationStrategy), sorted(known_zones()), delays)


def settings_of(form: Form) -> dict[str, Any]:
    """Return what the form says about each setting; what is left empty is None, or absent if it cannot be."""
    values: dict[str, Any] = {name: form[name] for name in _REQUIRED if form[name]}
    values |= {name: form[name] or None for name in _OPTIONAL}
    hours, days = _hours(form), form.all("working_days")
    if hours:
        # They count in place of the times, with which the service refuses them.
        values |= {"start_time": None, "end_time": None}
    if days or not hours:
        values["working_days"] = days
    return values | {
        "calling_hours": hours,
        "excluded_dates": form["excluded_dates"].replace(",", " ").split(),
        "holidays": _holidays(form),
        "phone_number_ids": form.all("phone_number_ids"),
        "max_retry_attempts": form["max_retry_attempts"] or "0",
        "retry_failed": form["max_retry_attempts"] not in ("", "0"),
        "retry_machine": bool(form["retry_machine"]),
        "person_limits": _person_limits(form),
        "retry_delays": {outcome: form[f"delay_{outcome}"] for outcome in _DELAYS if form[f"delay_{outcome}"]},
    }


def week(form: Form, now: DateTime) -> Week | InvalidInput | None:
    """Draw the calling hours of a form, or say what is wrong with them."""
    hours = {name: value for name, value in settings_of(form).items() if name in _WEEK}
    try:
        return week_of(LiveSettings.read(hours, now).model_dump(), now)
    except InvalidInput as error:
        return error


def form_of(batch: Mapping[str, Any]) -> Form:
    """Return the form that shows the settings of a batch."""
    hours, holidays = batch["calling_hours"] or {}, batch["holidays"] or {}
    fields = {name: _text(batch[name]) for name in (*_REQUIRED, *_OPTIONAL)} | {
        "expires_at": formats.typed(batch["expires_at"], batch["timezone"]),
        "excluded_dates": ", ".join(map(str, batch["excluded_dates"])),
        "holidays_country": holidays.get("country", ""),
        "holidays_region": holidays.get("region") or "",
        "max_retry_attempts": str(batch["max_retry_attempts"]) if batch["retry_failed"] else "0",
        "retry_machine": "yes" if batch["retry_machine"] else "",
        "person_limits": ", ".join("/".join(str(each[name]) for name in _LIMIT) for each in batch["person_limits"]),
    }
    fields |= {f"hours_{day}": ", ".join("-".join(interval) for interval in hours.get(day, ())) for day in WEEKDAYS}
    fields |= {f"delay_{outcome}": f"{minutes:g}" for outcome, minutes in batch["retry_delays"].items()}
    lists = {name: [str(value) for value in batch[name]] for name in ("working_days", "phone_number_ids")}
    return Form({name: [value] for name, value in fields.items()} | lists)


def _hours(form: Form) -> dict[str, list[list[str]]] | None:
    """Read 09:00-12:00, 13:00-18:00 of each weekday; None: no weekday has hours of its own."""
    written = {
        day: [_interval(each) for each in form[f"hours_{day}"].split(",")] for day in WEEKDAYS if form[f"hours_{day}"]
    }
    return written or None


def _interval(text: str) -> list[str]:
    return re.split(r"\s*(?:-|\u2013|to)\s*", text.strip())


def _holidays(form: Form) -> dict[str, str | None] | None:
    country, region = form["holidays_country"].upper(), form["holidays_region"].upper()
    return {"country": country, "region": region or None} if country else None


def _person_limits(form: Form) -> list[dict[str, str]]:
    """Read 3/24, 7/168. What is missing is left to the service, which names it."""
    limits = filter(None, form["person_limits"].replace(",", " ").split())
    return [dict(zip(_LIMIT, limit.split("/", 1), strict=False)) for limit in limits]


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case str() | int():
            return str(value)
        case _:
            # A time of the day.
            return f"{value:%H:%M}"
