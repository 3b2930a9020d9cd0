"""Which numbers a workspace may call: by country, and whether premium-rate and shared-cost numbers are allowed.

In: a number in E.164. Out: why it must not be called, or nothing. The types of numbers are those of phonenumbers.
"""

import re
from dataclasses import dataclass
from functools import cache

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumberType

PREMIUM_RATE = "premium_rate_not_allowed"
COUNTRY = "country_not_allowed"
REASONS = {
    PREMIUM_RATE: "is a premium-rate, shared-cost or satellite number, which this workspace may not call",
    COUNTRY: "is of a country that this workspace may not call",
}
_COSTLY = {PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST}
# ITU-T E.164: satellite telephones (870, 881), international networks (882, 883) and international premium rate (979).
# A minute costs several euros.
_COSTLY_CODES = {870, 881, 882, 883, 979}
_COUNTRY_CODE = re.compile(rf"\+({'|'.join(map(str, phonenumbers.COUNTRY_CODE_TO_REGION_CODE))})")


@dataclass(frozen=True, slots=True)
class CallingRules:
    """`countries`: ISO 3166 codes of the countries that may be called; None: all. `premium_rate`: whether premium-rate
    and shared-cost numbers may be called.
    """

    countries: frozenset[str] | None = None
    premium_rate: bool = False

    def refusal(self, e164: str) -> str | None:
        """Return PREMIUM_RATE or COUNTRY for a number that must not be called."""
        if not self.premium_rate and is_costly(e164):
            return PREMIUM_RATE
        if self.countries is not None and country_of(e164) not in self.countries:
            return COUNTRY
        return None


EVERYTHING = CallingRules(premium_rate=True)


def is_costly(e164: str) -> bool:
    """Say whether the caller pays more than for an ordinary call."""
    code, national = _split(e164)
    if code in _COSTLY_CODES:
        return True
    # Most numbers match no such pattern. Parsing each of them would take most of the time of a large import.
    pattern = _costly_numbers(code)
    if pattern is None or not pattern.fullmatch(national):
        return False
    return phonenumbers.number_type(phonenumbers.parse(e164)) in _COSTLY


def country_of(e164: str) -> str | None:
    """Return the ISO 3166 code of the number's country; 001: satellite phones and others without; None: no number."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(_split(e164)[0], ())
    if len(regions) <= 1:
        return regions[0] if regions else None
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(e164))
    except phonenumbers.NumberParseException:
        return None


def _split(e164: str) -> tuple[int, str]:
    """Return the country code, 0 where there is none, and the digits after it."""
    match = _COUNTRY_CODE.match(e164)
    return (int(match[1]), e164[match.end() :]) if match else (0, "")


@cache
def _costly_numbers(country_code: int) -> re.Pattern[str] | None:
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(country_code, ())
    plans = [PhoneMetadata.metadata_for_region_or_calling_code(country_code, region) for region in regions]
    kinds = [kind for plan in plans if plan for kind in (plan.premium_rate, plan.shared_cost)]
    patterns = [kind.national_number_pattern for kind in kinds if kind and kind.national_number_pattern]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns)) if patterns else None
