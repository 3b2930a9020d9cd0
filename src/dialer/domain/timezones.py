"""Time zones: which names this system knows (IANA, exact spelling), and which instant a local time means."""

from datetime import UTC, datetime
from functools import cache
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


@cache
def known_zones() -> frozenset[str]:
    """Return the names that this system knows."""
    # ZoneInfo("europe/berlin") would be accepted where the file system ignores case. "localtime" is another zone on
    # each machine, and "Factory" is the setting of a machine whose owner has not chosen a zone yet.
    return frozenset(available_timezones()) - {"localtime", "Factory"}
