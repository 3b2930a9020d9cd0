"""The types of fields that several input models use."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Strict,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.config import JsonDict

from dialer.domain.calling_hours import CallingHours
from dialer.domain.field_reasons import impossible_day
from dialer.domain.phone import check_region, normalise
from dialer.domain.public_holidays import PublicHolidays
from dialer.domain.timezones import is_known_zone
from dialer.domain.validation import Name as Name
from dialer.domain.validation import Storable as Storable
from dialer.domain.validation import storable as storable
from dialer.domain.validation import wrong_field
from dialer.errors import InvalidInput
from dialer.service.input_model import Changes as Changes
from dialer.service.input_model import InputModel as InputModel

MAX_METADATA_BYTES = 16 * 1024


def _written_as(pattern: str, example: str, parse: Callable[[str], Any]) -> BeforeValidator:
    """Accept text of this format only: pydantic would also read numbers as seconds since the epoch or since midnight.

    Parsed here, because in strict JSON mode pydantic does not parse text that went through a validator.
    """

    def check(value: Any) -> Any:
        if not isinstance(value, str):
            if isinstance(value, date | time):
                return value
        elif re.fullmatch(pattern, value, re.ASCII):
            with suppress(ValueError):
                return parse(value)
            raise wrong_field(impossible_day(value) or f"must be written as in {example}")
        raise wrong_field(f"must be written as in {example}")

    return BeforeValidator(check)


def _no_bool(value: Any) -> Any:
    """Refuse booleans, which Python accepts as 0 and 1."""
    if isinstance(value, bool):
        raise wrong_field("must be a number")
    return value


def _known_zone(name: str) -> str:
    if not is_known_zone(name):
        raise wrong_field("must be an IANA time zone that this system knows, such as Europe/Berlin")
    return name


def _region(code: str) -> str:
    try:
        return check_region(code)
    except InvalidInput as error:
        raise wrong_field(error.errors[0].reason) from None


def _number(text: str) -> str:
    try:
        return normalise(text, None)
    except InvalidInput as error:
        raise wrong_field(error.errors[0].reason) from None


def each_once(values: list[Any]) -> list[Any]:
    """Refuse a list that contains a value twice.

    Args:
        values: the list.

    Returns:
        The same list.

    Raises:
        PydanticCustomError: it contains a value twice.
    """
    if len(set(values)) < len(values):
        raise wrong_field("must not name one twice")
    return values


def _storable_json(metadata: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is no JSON, or JSON that Postgres cannot store: NaN, NUL, lone surrogates, endless nesting."""
    try:
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError):
        raise wrong_field("cannot be stored as JSON") from None
    # An escaped backslash before "u0000" is not an escape of NUL.
    if "\\u0000" in text.replace("\\\\", ""):
        raise wrong_field("has a character that cannot be stored (NUL)")
    if size > MAX_METADATA_BYTES:
        raise wrong_field(f"is larger than {MAX_METADATA_BYTES // 1024} KiB as JSON")
    return metadata


# JSON schema of a list without duplicates.
UNIQUE: JsonDict = {"uniqueItems": True}
Flag = Annotated[bool, Strict()]
Weekday = Annotated[int, Field(ge=1, le=7), BeforeValidator(_no_bool)]
Slots = Annotated[int, Field(ge=1, le=100), BeforeValidator(_no_bool)]
Retries = Annotated[int, Field(ge=0, le=3), BeforeValidator(_no_bool)]
Priority = Annotated[int, Field(ge=1, le=10), BeforeValidator(_no_bool)]
Limit = Annotated[int, Field(ge=1, le=2_147_483_647), BeforeValidator(_no_bool)]
DaysKept = Annotated[int, Field(ge=1, le=36_500), BeforeValidator(_no_bool)]
RingSeconds = Annotated[int, Field(ge=5, le=120), BeforeValidator(_no_bool)]
CallSeconds = Annotated[int, Field(ge=10, le=14_400), BeforeValidator(_no_bool)]
Minutes = Annotated[float, Field(ge=0, le=7 * 24 * 60), BeforeValidator(_no_bool)]
_HH_MM = r"([01]\d|2[0-3]):[0-5]\d"
ClockTime = Annotated[
    time,
    _written_as(_HH_MM, "09:30", time.fromisoformat),
    WithJsonSchema({"type": "string", "pattern": f"^{_HH_MM}$", "example": "09:30"}),
]
Day = Annotated[date, _written_as(r"\d{4}-\d\d-\d\d", "2030-01-31", date.fromisoformat)]
Moment = Annotated[
    datetime,
    _written_as(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*", "2030-01-31T18:00+01:00", TypeAdapter(datetime).validate_python),
]


class PersonLimit(InputModel):
    """At most this many attempts to a person within a rolling number of hours."""

    attempts: Annotated[int, Field(ge=1, le=100), BeforeValidator(_no_bool)]
    hours: Annotated[int, Field(ge=1, le=720), BeforeValidator(_no_bool)]


def _hours(written: dict[str, list[list[str]]]) -> dict[str, list[list[str]]]:
    try:
        CallingHours.read(written)
    except InvalidInput as error:
        raise wrong_field(error.errors[0].reason) from None
    return written


Hours = Annotated[
    dict[str, list[list[str]]],
    AfterValidator(_hours),
    Field(json_schema_extra={"example": {"1": [["09:00", "12:00"], ["13:00", "18:00"]], "5": [["20:00", "02:00"]]}}),
]


class Holidays(InputModel):
    """The public holidays of a country (ISO 3166, as in DE), or of one of its regions (as in BY), are excluded."""

    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]
    region: Annotated[str, Field(min_length=1, max_length=40)] | None = None


def _known_holidays(holidays: Holidays) -> Holidays:
    try:
        PublicHolidays(holidays.country, holidays.region)
    except InvalidInput as error:
        raise wrong_field(error.errors[0].reason) from None
    return holidays


KnownHolidays = Annotated[Holidays, AfterValidator(_known_holidays)]
PersonLimits = Annotated[list[PersonLimit], Field(max_length=10, json_schema_extra=UNIQUE), AfterValidator(each_once)]
Zone = Annotated[str, AfterValidator(_known_zone)]
Region = Annotated[str, AfterValidator(_region)]
Metadata = Annotated[dict[str, Any], AfterValidator(_storable_json)]
Label = Annotated[Storable, Field(min_length=1, max_length=50)]
Labels = Annotated[list[Label], Field(max_length=20, json_schema_extra=UNIQUE), AfterValidator(each_once)]
Status = Literal["active", "inactive"]
Reason = Annotated[Storable, Field(min_length=1, max_length=500)]
PhoneNumber = Annotated[str, AfterValidator(_number)]
