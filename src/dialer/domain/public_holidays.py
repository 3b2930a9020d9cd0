"""Public holidays of a country or region: the dates come from the library `holidays`, without input or output."""

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from dialer.errors import InvalidInput

_COUNTRY = re.compile("[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class PublicHolidays:
    """`country`: ISO 3166, as in DE. `region`: as in BY; None: only the holidays of the whole country.

    InvalidInput if the library does not know them.
    """

    country: str
    region: str | None = None

    def __post_init__(self) -> None:
        if not _COUNTRY.fullmatch(self.country):
            raise InvalidInput.of("holidays", "country must be the two letters of ISO 3166, as in DE")
        try:
            _dates(self.country, self.region, 2000)
        except NotImplementedError:
            place = self.country if self.region is None else f"{self.region[:20]} in {self.country}"
            raise InvalidInput.of("holidays", f"are not known of {place}") from None

    def __contains__(self, day: date) -> bool:
        return day in _dates(self.country, self.region, day.year)


@lru_cache(maxsize=1024)
def _dates(country: str, region: str | None, year: int) -> frozenset[date]:
    # Imported at the first use: it takes longer than all other modules of the domain.
    from holidays import country_holidays

    return frozenset(country_holidays(country, subdiv=region, years=year))
