import re
from collections.abc import Iterator, Sequence
from functools import cache
from random import Random

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers.tzdata import TIMEZONE_DATA

from dialer.domain import phone
from dialer.domain.phone import check_region, normalise, plausible_timezones
from dialer.domain.timezones import is_known_zone
from dialer.errors import InvalidInput

EMERGENCY = [
    "000",
    "100",
    "101",
    "102",
    "103",
    "110",
    "111",
    "112",
    "113",
    "115",
    "117",
    "118",
    "119",
    "190",
    "911",
    "999",
]


def verdict(raw: str, region: str | None = None) -> str:
    try:
        return normalise(raw, region)
    except InvalidInput as error:
        return error.errors[0].reason


@cache
def examples() -> list[str]:
    """One number of every kind of every country, as the library gives them."""
    kinds = range(phonenumbers.PhoneNumberType.VOICEMAIL + 1)
    numbers = [
        phonenumbers.example_number_for_type(region, kind)
        for region in phonenumbers.SUPPORTED_REGIONS
        for kind in kinds
    ]
    return sorted(
        {phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) for number in numbers if number}
    )


@pytest.mark.parametrize(
    ("raw", "region", "e164"),
    [
        ("+12025550100", None, "+12025550100"),
        (" +1 (202) 555-0100 ", None, "+12025550100"),
        ("202.555.0100", "US", "+12025550100"),
        ("1 202 555 0100", "US", "+12025550100"),
        ("030 / 123456", "DE", "+4930123456"),
        ("0049 30 123456", "DE", "+4930123456"),
        ("011 49 30 123456", "US", "+4930123456"),
        ("+49 (0)30 123456", None, "+4930123456"),
        ("06 1234 5678", "IT", "+390612345678"),
        ("+390612345678", None, "+390612345678"),
        ("tel:+1-202-555-0100", None, "+12025550100"),
        ("TEL: 030 123456", "DE", "+4930123456"),
        ("+１２０２５５５０１００", None, "+12025550100"),  # noqa: RUF001
        ("٠٣٠ ١٢٣٤٥٦", "DE", "+4930123456"),
        ("\u202a+12025550100\u202c", None, "+12025550100"),
        ("+1\u00a0202\u00a0555\u00a00100", None, "+12025550100"),
        ("+5491123456789", None, "+5491123456789"),
        ("+80012345678", None, "+80012345678"),
        ("020 7946 0000", "GB", "+442079460000"),
    ],
)
def test_what_people_write_becomes_e164(raw: str, region: str | None, e164: str) -> None:
    assert normalise(raw, region) == e164


@pytest.mark.parametrize(
    ("raw", "region", "reason"),
    [
        ("", "US", "is empty"),
        (" \t", "US", "is empty"),
        ("hello", "US", "is not a telephone number"),
        ("+", None, "is not a telephone number"),
        ("2025550100", None, "has no country code and no default region is set"),
        ("+999123456", "DE", "has an unknown country code"),
        ("+1202555010", None, "is too short"),
        ("+120255501000", None, "is too long"),
        # Its numbering plan has it; it has 16 digits.
        ("+4939141777631706", None, "is too long"),
        ("+1" + "2" * 300, None, "is too long"),
        ("555-0100", "US", "is too short, or its area code is missing"),
        ("+15555550100", None, "is not a number that exists under +1"),
        ("+6122222222222", None, "has the wrong number of digits for +61"),
        ("+1 202 555 0100 ext. 5", None, "has an extension, which cannot be dialled"),
        ("+12025550100x5", None, "has an extension, which cannot be dialled"),
        ("1-800-FLOWERS", "US", "has letters or signs that are no part of a telephone number"),
        ("030 123456 evenings", "DE", "has letters or signs that are no part of a telephone number"),
        ("Bob +12025550100", None, "has letters or signs that are no part of a telephone number"),
        ("2025550100 2025550101", "US", "is too long"),
        ("4.91511E+11", "DE", "was changed by a spreadsheet; format its column as text"),
        ("4,91511e11", "DE", "was changed by a spreadsheet; format its column as text"),
        ("+4930123456.0", None, "was changed by a spreadsheet; format its column as text"),
    ],
)
def test_what_cannot_be_called_is_refused_with_the_reason(raw: str, region: str | None, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        normalise(raw, region)
    assert str(refused.value) == f"phone_number: {reason}"


def test_the_american_numbers_kept_for_fiction_are_valid() -> None:
    numbers = [f"+120255501{last:02}" for last in range(100)]
    assert [verdict(number) for number in numbers] == numbers


def test_no_emergency_number_can_be_called_from_any_country() -> None:
    called = [
        (region, short)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for short in EMERGENCY
        if verdict(short, region).startswith("+")
        or verdict(f"+{phonenumbers.country_code_for_region(region)}{short}").startswith("+")
    ]
    assert called == []


def test_every_kind_of_number_of_every_country_passes_unchanged() -> None:
    assert [number for number in examples() if verdict(number) != number] == []


@st.composite
def almost_numbers(draw: st.DrawFn) -> str:
    """A real number with some digits replaced, put in or left out anywhere after the plus."""
    digits = draw(st.sampled_from(examples()))[1:]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(digits)))
        digits = digits[:at] + draw(st.text("0123456789", max_size=2)) + digits[at + draw(st.integers(0, 1)) :]
    return f"+{digits}"


# `tel:` keeps a number from the short way that clean E.164 takes.
@given(almost_numbers() | st.from_regex(r"\+[0-9]{5,17}", fullmatch=True))
def test_the_short_way_for_clean_numbers_gives_the_same_verdict_as_the_parser(number: str) -> None:
    assert verdict(number) == verdict(f"tel:{number}")


@given(st.text() | st.text("+0123456789 -()./xE#*", max_size=25), st.sampled_from([None, "US", "DE", "IT", "BR", "GB"]))
def test_any_text_is_either_refused_or_becomes_e164_that_stays_as_it_is(raw: str, region: str | None) -> None:
    try:
        e164 = normalise(raw, region)
    except InvalidInput:
        return
    assert re.fullmatch(r"\+[1-9][0-9]{4,14}", e164)
    assert normalise(e164, None) == e164


def test_a_region_is_read_in_any_case() -> None:
    assert check_region(" de ") == "DE"


@pytest.mark.parametrize("code", ["", "XX", "DEU", "+49", "Germany", "001"])
def test_a_region_without_telephone_numbers_is_refused(code: str) -> None:
    with pytest.raises(InvalidInput, match="default_region: must be the two letters of a country"):
        check_region(code)


@pytest.mark.parametrize(
    ("number", "zones"),
    [
        ("+12025550100", ("America/New_York",)),
        ("+4915112345678", ("Europe/Berlin",)),
        ("+447400123456", ("Europe/Guernsey", "Europe/Isle_of_Man", "Europe/Jersey", "Europe/London")),
        ("+80012345678", ()),
    ],
)
def test_the_zones_of_a_number_are_all_in_which_it_may_be_at_home(number: str, zones: tuple[str, ...]) -> None:
    assert plausible_timezones(number) == zones


def test_an_american_number_without_a_place_may_be_anywhere_from_the_atlantic_to_hawaii() -> None:
    zones = plausible_timezones("+18005550100")
    assert {"America/New_York", "Pacific/Honolulu"} <= set(zones)
    assert list(zones) == sorted(zones)


def test_no_zone_of_the_number_plans_is_unknown_to_this_system() -> None:
    zones = {zone for zones in TIMEZONE_DATA.values() for zone in zones}
    assert [zone for zone in sorted(zones) if not is_known_zone(zone)] == []


def test_the_compiled_plans_say_what_the_library_says_near_every_kind_of_number_of_every_country() -> None:
    rng = Random(5)
    valid = 0
    for country_code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        for national in _near_examples(country_code, regions, rng):
            text = f"+{country_code}{national}"
            is_valid = phone._is_plain_and_valid(text)
            trunk_prefix = phone._trunk_prefix(country_code)
            is_plain = phone._PLAIN_E164.fullmatch(text) and len(text) <= 1 + phone.MAX_DIGITS
            if not is_plain or (trunk_prefix is not None and trunk_prefix.match(national)):
                assert not is_valid
                continue
            number = phonenumbers.PhoneNumber(country_code=country_code, national_number=int(national))
            assert is_valid == phonenumbers.is_valid_number(number), text
            valid += is_valid
    assert valid > 10_000


def _near_examples(country_code: int, regions: Sequence[str], rng: Random) -> Iterator[str]:
    """Examples of every kind of number of a country, with some digits changed, taken or added."""
    kinds = ("premium_rate", "toll_free", "shared_cost", "voip", "personal_number", "pager", "uan", "voicemail",
             "fixed_line", "mobile")  # fmt: skip
    for region in regions:
        plan = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(country_code, region)
        examples = [kind.example_number for name in kinds if plan and (kind := getattr(plan, name)) is not None]
        for example in filter(None, examples):
            for _ in range(20):
                digits = list(example)
                for _ in range(rng.randint(0, 4)):
                    digits[rng.randrange(len(digits))] = rng.choice("0123456789")
                yield "".join(digits)[: len(digits) - rng.choice([0, 0, 0, 1])] + rng.choice(["", "", "", "7"])
