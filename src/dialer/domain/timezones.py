"""Time zones: which names this system knows (IANA, exact spelling), which instant a local time means, and how instants
are written.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pendulum
from pendulum import DateTime


def is_known_zone(name: str) -> bool:
    """Say whether this system's time zone data has this name."""
    return name in known_zones()


def moment_of(at: datetime, timezone: str) -> DateTime:
    """Return the moment, in UTC; a time without an offset is read in the zone as RFC 5545 (3.3.5) says: in a gap with
    the offset before it, in a repeated hour the first pass. Raises ValueError or OverflowError beyond years 1 to 9999.
    """
    local = at if at.tzinfo else at.replace(tzinfo=ZoneInfo(timezone))
    return pendulum.instance(local.astimezone(UTC))


def in_utc(at: datetime) -> str:
    """Write a moment as every response, file and message does: ISO 8601 in UTC, as in 2030-01-31T09:00:00Z."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def times_in_utc(data: Mapping[str, Any]) -> dict[str, Any]:
    """Write the moments among JSON values that Postgres has made: those under `at` and `…_at`, with any offset."""
    return {name: _rewritten(value) if name == "at" or name.endswith("_at") else value for name, value in data.items()}


def _rewritten(value: Any) -> Any:
    if isinstance(value, str):
        with suppress(ValueError, OverflowError):
            at = datetime.fromisoformat(value)
            return in_utc(at) if at.tzinfo else value
    return value


@cache
def known_zones() -> frozenset[str]:
    """Return the names that this system knows."""
    # ZoneInfo("europe/berlin") would be accepted where the file system ignores case. "localtime" is another zone on
    # each machine, and "Factory" is the setting of a machine whose owner has not chosen a zone yet.
    return frozenset(available_timezones()) - {"localtime", "Factory"}
