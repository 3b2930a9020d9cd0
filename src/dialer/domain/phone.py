"""Telephone numbers: text as people write it goes in; E.164 comes out, or the reason why it cannot be called.

Accepted: E.164, any international format, national formats and international prefixes (00, 011, …) of the default
region, spaces and punctuation, digits of any script, a leading `tel:`. Refused although they could be parsed:
extensions (they cannot be dialled, and without them another person answers), letters, and numbers that a spreadsheet
has reformatted (4.9E+11, 4930123456.0). Nothing is looked up: a number that is valid in its country's plan may be
unassigned.
"""

import re
from functools import cache

import phonenumbers
from phonenumbers import (
    NumberParseException,
    PhoneMetadata,
    PhoneNumber,
    PhoneNumberDesc,
    PhoneNumberFormat,
    ValidationResult,
)
from phonenumbers import timezone as timezone_data

from dialer.domain.timezones import is_known_zone
from dialer.errors import InvalidInput

# ITU-T E.164, section 6.2.1: at most 15 digits, the country code included. Some national plans allow more on paper.
MAX_DIGITS = 15

# No country code begins with another one, so the order of the alternatives does not matter. A national part that begins
# with 0 is left to the library: in Italy the 0 belongs to the number, elsewhere it does not.
_COUNTRY_CODES = "|".join(map(str, phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
_PLAIN_E164 = re.compile(rf"\+({_COUNTRY_CODES})([1-9][0-9]{{3,13}})")

_SPREADSHEET = re.compile(r"[+-]?\d+([.,]\d+)?E\+?\d+|\+?\d+\.0", re.IGNORECASE)
_PLUS = re.compile("[+\uff0b]")
_FOREIGN = re.compile(r"[^\W\d_]|[*#;,@]")

_PARSE_REASONS = {
    NumberParseException.NOT_A_NUMBER: "is not a telephone number",
    NumberParseException.TOO_SHORT_AFTER_IDD: "is too short",
    NumberParseException.TOO_SHORT_NSN: "is too short",
    NumberParseException.TOO_LONG: "is too long",
}
_LENGTH_REASONS = {
    ValidationResult.TOO_SHORT: "is too short",
    ValidationResult.TOO_LONG: "is too long",
    ValidationResult.INVALID_LENGTH: "has the wrong number of digits for +{}",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "is too short, or its area code is missing",
}


def masked(number: str) -> str:
    """Return a number in E.164 as logs show it: only its last two digits."""
    return f"+…{number[-2:]}"


def normalise(raw: str, default_region: str | None) -> str:
    """Return the number in E.164; InvalidInput for `phone_number` says why it cannot be called.

    `default_region` (see `check_region`) is the country whose national formats are understood.
    """
    text = raw.strip()
    if _is_plain_and_valid(text):
        return text
    number = _parse(text, default_region)
    _refuse_if_not_dialable(text, number)
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    if len(e164) > 1 + MAX_DIGITS:
        raise _refused("is too long")
    return e164


def check_region(code: str) -> str:
    """Return the ISO 3166 country code in capitals; InvalidInput for `default_region` when no numbers belong to it."""
    region = code.strip().upper()
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidInput.of("default_region", "must be the two letters of a country, as in DE or US")
    return region


def national(e164: str) -> str:
    """Return the digits as dialled within the number's own country, with its trunk prefix."""
    text = phonenumbers.format_number(phonenumbers.parse(e164), PhoneNumberFormat.NATIONAL)
    return "".join(phonenumbers.normalize_digits_only(text))


def plausible_timezones(e164: str) -> tuple[str, ...]:
    """Return every zone in which the number may be at home, sorted; nothing when its place cannot be told.

    A mobile or ported number may be anywhere: area codes tell where it was issued.
    """
    zones = timezone_data.time_zones_for_number(phonenumbers.parse(e164))
    return tuple(sorted(zone for zone in zones if is_known_zone(zone)))


def _is_plain_and_valid(text: str) -> bool:
    """Judge a clean E.164 number by the library's own numbering plans, but with one pattern a region.

    Parsing it and matching it kind by kind would take most of the time of a large import. True is what the library
    would say: its parser changes nothing in a number that does not begin with a trunk prefix. False says nothing yet.
    """
    match = _PLAIN_E164.fullmatch(text)
    if match is None or len(text) > 1 + MAX_DIGITS:
        return False
    country_code, national = int(match[1]), match[2]
    trunk_prefix = _trunk_prefix(country_code)
    if trunk_prefix is not None and trunk_prefix.match(national):
        return False
    for leading_digits, numbers in _plans(country_code):
        if leading_digits is None:
            if numbers.fullmatch(national):
                return True
        elif leading_digits.match(national):
            return numbers.fullmatch(national) is not None
    return False


@cache
def _plans(country_code: int) -> tuple[tuple[re.Pattern[str] | None, re.Pattern[str]], ...]:
    """Compile the plan of each region of a country code: the digits by which it is told, and all its numbers.

    In the library's order, which decides where plans overlap; a region that is alone is not told by its digits.
    """
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[country_code]
    plans = (PhoneMetadata.metadata_for_region_or_calling_code(country_code, region) for region in regions)
    return tuple(
        (re.compile(plan.leading_digits) if plan.leading_digits and len(regions) > 1 else None, _numbers(plan))
        for plan in plans
        if plan is not None
    )


def _numbers(plan: PhoneMetadata) -> re.Pattern[str]:
    """Join the patterns of all kinds of numbers, each with its lengths."""
    kinds = (plan.premium_rate, plan.toll_free, plan.shared_cost, plan.voip, plan.personal_number, plan.pager,
             plan.uan, plan.voicemail, plan.fixed_line, plan.mobile)  # fmt: skip
    any_of = "|".join(pattern for kind in kinds if (pattern := _pattern(kind)))
    return re.compile(f"(?={_pattern(plan.general_desc)}$)(?:{any_of})")


def _pattern(kind: PhoneNumberDesc | None) -> str:
    if kind is None or not kind.national_number_pattern:
        return ""
    lengths = "|".join(f"[0-9]{{{length}}}" for length in kind.possible_length or ())
    of_length = f"(?=(?:{lengths})$)" if lengths else ""
    return f"(?:{of_length}(?:{kind.national_number_pattern}))"


@cache
def _trunk_prefix(country_code: int) -> re.Pattern[str] | None:
    region = phonenumbers.region_code_for_country_code(country_code)
    plan = PhoneMetadata.metadata_for_region_or_calling_code(country_code, region)
    prefix = plan.national_prefix_for_parsing if plan else None
    return re.compile(prefix) if prefix else None


def _parse(text: str, default_region: str | None) -> PhoneNumber:
    if not text:
        raise _refused("is empty")
    if _SPREADSHEET.fullmatch(text):
        raise _refused("was changed by a spreadsheet; format its column as text")
    try:
        return phonenumbers.parse(text, default_region)
    except NumberParseException as error:
        missing = default_region is None and not _PLUS.search(text)
        no_country = "has no country code and no default region is set" if missing else "has an unknown country code"
        raise _refused(_PARSE_REASONS.get(error.error_type, no_country)) from None


def _refuse_if_not_dialable(text: str, number: PhoneNumber) -> None:
    if number.extension:
        raise _refused("has an extension, which cannot be dialled")
    if _FOREIGN.search(text.lower().removeprefix("tel:")):
        raise _refused("has letters or signs that are no part of a telephone number")
    if not phonenumbers.is_valid_number(number):
        length = phonenumbers.is_possible_number_with_reason(number)
        reason = _LENGTH_REASONS.get(length, "is not a number that exists under +{}")
        raise _refused(reason.format(number.country_code))


def _refused(reason: str) -> InvalidInput:
    return InvalidInput.of("phone_number", reason)
