"""What a batch is created from: the fields, bounds and defaults of the public contract, checked all at once."""

import json
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Annotated, Any, Literal
from uuid import UUID

from pendulum import DateTime
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from dialer.domain.outcomes import Outcome
from dialer.domain.phone import check_region
from dialer.domain.retry import DEFAULT_DELAY_MINUTES
from dialer.domain.rotation import RotationStrategy
from dialer.domain.zones import is_known_zone, moment_of
from dialer.errors import FieldError, InvalidInput

MAX_METADATA_BYTES = 16 * 1024


def _refusal(reason: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def _written_as(pattern: str, example: str) -> BeforeValidator:
    """Accept text of this form alone; pydantic would also read numbers as seconds since the epoch or midnight."""

    def check(value: Any) -> Any:
        if isinstance(value, date | time) or (isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII)):
            return value
        raise _refusal(f"must be written as in {example}")

    return BeforeValidator(check)


def _no_bool(value: Any) -> Any:
    """Refuse what Python takes for 0 and 1."""
    if isinstance(value, bool):
        raise _refusal("must be a number")
    return value


def _storable(text: str) -> str:
    if "\0" in text:
        raise _refusal("has a character that cannot be stored (NUL)")
    return text


def _known_zone(name: str) -> str:
    if not is_known_zone(name):
        raise _refusal("must be an IANA time zone that this system knows, such as Europe/Berlin")
    return name


def _region(code: str) -> str:
    try:
        return check_region(code)
    except InvalidInput as error:
        raise _refusal(error.errors[0].reason) from None


def _each_once(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise _refusal("must not name one twice")
    return values


def _retried(outcome: Outcome) -> Outcome:
    if outcome not in DEFAULT_DELAY_MINUTES:
        raise _refusal("is never retried")
    return outcome


def _storable_json(metadata: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is no JSON, or none that Postgres stores: NaN, NUL, half of a surrogate pair, endless nesting."""
    try:
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError):
        raise _refusal("cannot be stored as JSON") from None
    # Without the escaped backslashes, what still reads as the escape of NUL is one.
    if "\\u0000" in text.replace("\\\\", ""):
        raise _refusal("has a character that cannot be stored (NUL)")
    if size > MAX_METADATA_BYTES:
        raise _refusal(f"is larger than {MAX_METADATA_BYTES // 1024} KiB as JSON")
    return metadata


Flag = Annotated[bool, Strict()]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Minutes = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, le=7 * 24 * 60)]
ClockTime = Annotated[time, _written_as(r"([01]\d|2[0-3]):[0-5]\d", "09:30")]
Day = Annotated[date, _written_as(r"\d{4}-\d\d-\d\d", "2030-01-31")]
Moment = Annotated[datetime, _written_as(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*", "2030-01-31T18:00+01:00")]


class NewBatch(BaseModel):
    """A batch to be created. `retry_delays`: outcome -> minutes. A time without an offset is read in `timezone`.

    `timezone` stands before the times, and `start_time` before `end_time`: a check sees the fields above its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_storable)]
    agent_id: UUID
    phone_number_ids: Annotated[list[UUID], Field(max_length=1000), AfterValidator(_each_once)] = []
    phone_rotation_strategy: RotationStrategy = RotationStrategy.RANDOM
    contact_source: Literal["csv", "manual"] = "csv"
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    schedule_type: Literal["immediate", "scheduled"] = "immediate"
    scheduled_at: Moment | None = Field(default=None, validate_default=True)
    start_time: ClockTime | None = None
    end_time: ClockTime | None = None
    working_days: Annotated[
        list[Annotated[Whole, Field(ge=1, le=7)]], Field(min_length=1), AfterValidator(_each_once)
    ] = [1, 2, 3, 4, 5]
    excluded_dates: list[Day] = Field(default=[], max_length=1000)
    max_concurrent_calls: Whole = Field(default=10, ge=1, le=100)
    max_calls_per_day: Whole | None = Field(default=None, ge=1, le=2_147_483_647)
    retry_failed: Flag = False
    max_retry_attempts: Whole = Field(default=0, ge=0, le=3)
    retry_delays: dict[Annotated[Outcome, AfterValidator(_retried)], Minutes] = {}
    retry_machine: Flag = False
    respect_contact_timezone: Flag = False
    sticky_caller_id: Flag = False
    expires_at: Moment | None = None
    priority: Whole = Field(default=5, ge=1, le=10)
    default_region: Annotated[str, AfterValidator(_region)] | None = None
    metadata: Annotated[dict[str, Any], AfterValidator(_storable_json)] = {}

    @classmethod
    def read(cls, fields: Mapping[str, Any], now: DateTime) -> "NewBatch":
        """Check all fields; InvalidInput names every wrong one. Times must lie after `now`."""
        try:
            return cls.model_validate(fields, context=now)
        except ValidationError as error:
            raise InvalidInput(_field_errors(error)) from None

    def columns(self) -> dict[str, Any]:
        """The values of the columns of the same names; times are instants in UTC."""
        return self.model_dump(exclude={"phone_number_ids"})

    @field_validator("scheduled_at")
    @classmethod
    def _is_given(cls, at: datetime | None, info: ValidationInfo) -> datetime | None:
        if at is None and info.data.get("schedule_type") == "scheduled":
            raise _refusal("is required when schedule_type is scheduled")
        return at

    @field_validator("scheduled_at", "expires_at")
    @classmethod
    def _lies_ahead(cls, at: datetime | None, info: ValidationInfo) -> datetime | None:
        if at is None or (at.tzinfo is None and "timezone" not in info.data):
            return at
        now, instant = info.context, _in_utc(at, info.data.get("timezone", "UTC"))
        assert isinstance(now, DateTime)
        if instant <= now:
            raise _refusal("must lie ahead")
        return instant

    @field_validator("end_time")
    @classmethod
    def _differs_from_start(cls, end: time | None, info: ValidationInfo) -> time | None:
        if end is not None and end == info.data.get("start_time"):
            raise _refusal("must not equal start_time")
        return end


def _in_utc(at: datetime, timezone: str) -> DateTime:
    try:
        return moment_of(at, timezone)
    except (ValueError, OverflowError):
        raise _refusal("is no moment between the years 1 and 9999") from None


def _field_errors(error: ValidationError) -> list[FieldError]:
    return [
        FieldError(
            ".".join(str(part) for part in one["loc"] if part != "[key]") or "body",
            one["msg"][0].lower() + one["msg"][1:],
        )
        for one in error.errors(include_url=False)
    ]
