"""Which names of time zones this system knows (IANA, exact spelling)."""

from functools import cache
from zoneinfo import available_timezones


def is_known_zone(name: str) -> bool:
    """Say whether this system's time zone data has rules for the name."""
    return name in _known_zones()


@cache
def _known_zones() -> frozenset[str]:
    # Asking ZoneInfo for one name would accept "europe/berlin" where the file system ignores case. Each machine means
    # another zone by "localtime".
    return frozenset(available_timezones()) - {"localtime"}
