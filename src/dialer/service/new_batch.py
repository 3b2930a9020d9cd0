"""The settings of a batch: fields, bounds and defaults of the public contract."""

from datetime import datetime, time
from typing import Annotated, Any, Literal
from uuid import UUID

from pendulum import DateTime
from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator

from dialer.domain.outcomes import Outcome
from dialer.domain.retry import DEFAULT_DELAY_MINUTES
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.domain.timezones import moment_of
from dialer.domain.validation import wrong_field
from dialer.service.fields import (
    UNIQUE,
    CallSeconds,
    ClockTime,
    Day,
    Flag,
    Hours,
    InputModel,
    KnownHolidays,
    Labels,
    Limit,
    Metadata,
    Minutes,
    Moment,
    Name,
    PersonLimits,
    Priority,
    Region,
    Retries,
    RingSeconds,
    Slots,
    Weekday,
    Zone,
    each_once,
)


def _retried(outcome: Outcome) -> Outcome:
    if outcome not in DEFAULT_DELAY_MINUTES:
        raise wrong_field("is never retried")
    return outcome


Retried = Annotated[
    Outcome, AfterValidator(_retried), WithJsonSchema({"type": "string", "enum": [*DEFAULT_DELAY_MINUTES]})
]


class LiveSettings(InputModel):
    """The settings that may be changed as long as a batch is not over. `retry_delays`: outcome -> minutes.

    `calling_hours`: weekday ("1" is Monday) -> [[from, to], ...], in place of start_time, end_time and working_days.
    """

    # The order matters, because a validator sees only the fields above its own: `timezone` comes before the times, and
    # `start_time` before `end_time`.

    phone_number_ids: Annotated[
        list[UUID], Field(max_length=1000, json_schema_extra=UNIQUE), AfterValidator(each_once)
    ] = []
    phone_rotation_strategy: RotationStrategy = RotationStrategy.RANDOM
    timezone: Zone = "UTC"
    start_time: ClockTime | None = None
    end_time: ClockTime | None = None
    working_days: Annotated[list[Weekday], Field(min_length=1, json_schema_extra=UNIQUE), AfterValidator(each_once)] = [
        1,
        2,
        3,
        4,
        5,
    ]
    calling_hours: Hours | None = None
    excluded_dates: list[Day] = Field(default=[], max_length=1000)
    holidays: KnownHolidays | None = None
    max_concurrent_calls: Slots = 10
    max_calls_per_day: Limit | None = None
    ring_timeout_seconds: RingSeconds | None = None
    max_call_seconds: CallSeconds | None = None
    retry_failed: Flag = False
    max_retry_attempts: Retries = 0
    retry_delays: dict[Retried, Minutes] = {}
    retry_machine: Flag = False
    expires_at: Moment | None = None
    priority: Priority = 5
    person_limits: PersonLimits = []


class BatchSettings(LiveSettings):
    """The settings of a batch, which may be changed until it is started."""

    # `schedule_type` before `scheduled_at`, whose validator sees it.

    name: Name
    schedule_type: Literal["immediate", "scheduled"] = "immediate"
    scheduled_at: Moment | None = None
    respect_contact_timezone: Flag = False
    sticky_caller_id: Flag = False
    default_region: Region | None = None
    metadata: Metadata = {}
    labels: Labels = []


class NewBatch(BatchSettings):
    """A batch to be created. A time without an offset is read in `timezone`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "Appointment reminders",
                "agent_id": "019cad8f-ac00-7d8e-91b7-584a2265b1f5",
                "timezone": "Europe/Berlin",
                "start_time": "09:00",
                "end_time": "17:30",
                "max_concurrent_calls": 20,
                "retry_failed": True,
                "max_retry_attempts": 2,
            }
        }
    )

    agent_id: UUID
    scheduled_at: Moment | None = Field(default=None, validate_default=True)
    contact_source: Literal["csv", "folder", "manual"] = "csv"
    contact_folder_id: UUID | None = Field(default=None, validate_default=True)

    def columns(self) -> dict[str, Any]:
        """Convert the fields for the table `batches`.

        Returns:
            The values of the columns with the same names; times are in UTC.
        """
        return self.model_dump(exclude={"phone_number_ids"})

    @field_validator("scheduled_at")
    @classmethod
    def _fits_type(cls, at: datetime | None, info: ValidationInfo) -> datetime | None:
        if at is None and info.data.get("schedule_type") == "scheduled":
            raise wrong_field("is required when schedule_type is scheduled")
        if at is not None and info.data.get("schedule_type") == "immediate":
            raise wrong_field("is only for schedule_type scheduled; an immediate batch starts when it is scheduled")
        return at

    @field_validator("scheduled_at", "expires_at")
    @classmethod
    def _lies_ahead(cls, at: datetime | None, info: ValidationInfo) -> datetime | None:
        if at is None or (at.tzinfo is None and "timezone" not in info.data):
            return at
        now, instant = info.context, _in_utc(at, info.data.get("timezone", "UTC"))
        assert isinstance(now, DateTime)
        if instant <= now:
            raise wrong_field("must lie ahead")
        return instant

    @field_validator("contact_folder_id")
    @classmethod
    def _fits_source(cls, folder_id: UUID | None, info: ValidationInfo) -> UUID | None:
        if folder_id is None and info.data.get("contact_source") == "folder":
            raise wrong_field("is required when contact_source is folder")
        if folder_id is not None and info.data.get("contact_source") in ("csv", "manual"):
            raise wrong_field("is only for contact_source folder")
        return folder_id

    @field_validator("end_time")
    @classmethod
    def _differs_from_start(cls, end: time | None, info: ValidationInfo) -> time | None:
        if end is not None and end == info.data.get("start_time"):
            raise wrong_field("must not equal start_time")
        return end

    @field_validator("calling_hours")
    @classmethod
    def _replaces_short_form(
        cls, hours: dict[str, list[list[str]]] | None, info: ValidationInfo
    ) -> dict[str, list[list[str]]] | None:
        if hours is not None and (info.data.get("start_time") or info.data.get("end_time")):
            raise wrong_field("replaces start_time, end_time and working_days: leave out the times")
        return hours


def _in_utc(at: datetime, timezone: str) -> DateTime:
    try:
        return moment_of(at, timezone)
    except (ValueError, OverflowError):
        raise wrong_field("is no moment between the years 1 and 9999") from None
