"""Filters of the templates: numbers, shares, times in a zone, durations."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import pendulum
from markupsafe import Markup
from pendulum import DateTime

from dialer.domain.timezones import is_known_zone
from dialer.domain.window import LAST_YEAR

NONE = "-"


def number(value: float | None) -> str:
    """Write 4210 as 4,210."""
    return NONE if value is None else f"{value:,}"


def share(part: float, whole: float) -> str:
    """Write a share as a percentage; a dash where there is nothing to divide by."""
    return f"{100 * part / whole:.0f} %" if whole else NONE


def when(at: datetime | None, zone: str = "UTC") -> Markup | str:
    """Write a time in this zone, and name the zone."""
    if at is None:
        return NONE
    local = _local(at, zone)
    text = local.format("ddd D MMM YYYY HH:mm zz")
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), text)


def moment(at: datetime | str | None) -> Markup | str:
    """Write a time in UTC, also one that is text because it comes from a JSON column."""
    return when(datetime.fromisoformat(at) if isinstance(at, str) else at)


def clock(at: datetime | None, zone: str = "UTC") -> Markup | str:
    """Write a time in this zone to the second, without its year."""
    if at is None:
        return NONE
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), _local(at, zone).format("D MMM HH:mm:ss"))


def typed(at: datetime | None, zone: str = "UTC") -> str:
    """Write a time in this zone as the value of an input of the type datetime-local; empty where there is none."""
    return "" if at is None else _local(at, zone).format("YYYY-MM-DDTHH:mm")


def duration(seconds: float | None) -> str:
    """Write a duration in its two largest units."""
    if seconds is None:
        return NONE
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if count]
    return " ".join(parts[:2]) or "0 s"


def count_of(value: int, noun: str) -> str:
    """Write a count with its noun: 1 call, 2 calls, 3 batches."""
    plural = noun + ("es" if noun.endswith(("s", "ch")) else "s")
    return f"{value:,} {noun if value == 1 else plural}"


def shown(batch_ids: Iterable[UUID]) -> str:
    """Write the parameters that name the batches on a page."""
    return "".join(f"&batch={batch_id}" for batch_id in batch_ids)


def _local(at: datetime, zone: str) -> DateTime:
    """Return the time in this zone; in UTC where it has none there, as at the end of the year 9999."""
    has_zone = is_known_zone(zone) and 1 < at.year <= LAST_YEAR
    return pendulum.instance(at).in_timezone(zone if has_zone else "UTC")


FILTERS: dict[str, Any] = {
    "number": number,
    "when": when,
    "moment": moment,
    "clock": clock,
    "typed": typed,
    "duration": duration,
    "count_of": count_of,
    "share": share,
    "shown": shown,
}
