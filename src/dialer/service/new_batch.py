"""What a batch is created from: the fields, bounds and defaults of the public contract, checked all at once."""

import json
from collections.abc import Mapping
from datetime import date, time
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import pendulum
from pendulum import DateTime
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NaiveDatetime, ValidationError, model_validator

from dialer.domain.outcomes import Outcome
from dialer.domain.phone import check_region
from dialer.domain.retry import DEFAULT_DELAY_MINUTES
from dialer.domain.rotation import RotationStrategy
from dialer.domain.window import CallingWindow
from dialer.errors import FieldError, InvalidInput

MAX_METADATA_BYTES = 16 * 1024
Minutes = Annotated[int, Field(ge=1, le=7 * 24 * 60)]


class NewBatch(BaseModel):
    """A batch to be created. `retry_delays`: outcome -> minutes. A time without an offset is read in `timezone`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=255)
    agent_id: UUID
    phone_number_ids: list[UUID] = Field(default=[], max_length=1000)
    phone_rotation_strategy: RotationStrategy = RotationStrategy.RANDOM
    contact_source: Literal["csv", "folder", "manual"] = "csv"
    schedule_type: Literal["immediate", "scheduled"] = "immediate"
    scheduled_at: AwareDatetime | NaiveDatetime | None = None
    timezone: str = "UTC"
    start_time: time | None = None
    end_time: time | None = None
    working_days: list[int] = [1, 2, 3, 4, 5]
    excluded_dates: list[date] = Field(default=[], max_length=1000)
    max_concurrent_calls: int = Field(default=10, ge=1, le=100)
    max_calls_per_day: int | None = Field(default=None, ge=1, le=2_147_483_647)
    retry_failed: bool = False
    max_retry_attempts: int = Field(default=0, ge=0, le=3)
    retry_delays: dict[Outcome, Minutes] = {}
    retry_machine: bool = False
    respect_contact_timezone: bool = False
    sticky_caller_id: bool = False
    expires_at: AwareDatetime | NaiveDatetime | None = None
    priority: int = Field(default=5, ge=1, le=10)
    default_region: str | None = None
    metadata: dict[str, Any] = {}

    @classmethod
    def read(cls, fields: Mapping[str, Any], now: DateTime) -> "NewBatch":
        """Check all fields; InvalidInput names every wrong one. Times must lie after `now`."""
        try:
            batch = cls.model_validate(fields)
        except ValidationError as error:
            raise InvalidInput(_field_errors(error)) from None
        if errors := batch._time_errors(now):
            raise InvalidInput(errors)
        return batch

    @property
    def window(self) -> CallingWindow:
        return CallingWindow(
            self.timezone,
            self.start_time,
            self.end_time,
            frozenset(self.working_days),
            frozenset(self.excluded_dates),
        )

    @property
    def starts_at(self) -> DateTime | None:
        return self._instant("scheduled_at") if self.schedule_type == "scheduled" else None

    def columns(self) -> dict[str, Any]:
        """The values of the columns of the same names."""
        values = self.model_dump(exclude={"phone_number_ids"})
        times = {name: self._instant(name) for name in ("scheduled_at", "expires_at")}
        region = check_region(self.default_region) if self.default_region else None
        return values | times | {"default_region": region}

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        errors: list[FieldError] = []
        for check in (self._check_window, self._check_lists, self._check_region, self._check_rest):
            try:
                check()
            except InvalidInput as error:
                errors += error.errors
        if errors:
            raise ValueError(json.dumps([[error.field, error.reason] for error in errors]))
        return self

    def _check_window(self) -> None:
        CallingWindow(self.timezone, self.start_time, self.end_time, frozenset(self.working_days))

    def _check_lists(self) -> None:
        errors = [
            FieldError(name, "must not name one twice")
            for name in ("phone_number_ids", "working_days")
            if len(set(getattr(self, name))) < len(getattr(self, name))
        ]
        unknown = [str(outcome) for outcome in self.retry_delays if outcome not in DEFAULT_DELAY_MINUTES]
        if unknown:
            errors.append(FieldError("retry_delays", f"{', '.join(unknown)} is never retried"))
        if errors:
            raise InvalidInput(errors)

    def _check_region(self) -> None:
        if self.default_region is not None:
            check_region(self.default_region)

    def _check_rest(self) -> None:
        if self.schedule_type == "scheduled" and self.scheduled_at is None:
            raise InvalidInput.of("scheduled_at", "is required when schedule_type is scheduled")
        if len(json.dumps(self.metadata).encode()) > MAX_METADATA_BYTES:
            raise InvalidInput.of("metadata", f"is larger than {MAX_METADATA_BYTES // 1024} KiB as JSON")

    def _time_errors(self, now: DateTime) -> list[FieldError]:
        checked = {"scheduled_at": self.starts_at, "expires_at": self._instant("expires_at")}
        return [FieldError(name, "must lie ahead") for name, at in checked.items() if at is not None and at <= now]

    def _instant(self, name: str) -> DateTime | None:
        value = getattr(self, name)
        if value is None:
            return None
        if value.tzinfo is None:
            return pendulum.instance(value, tz=self.timezone).in_timezone("UTC")
        return pendulum.instance(value).in_timezone("UTC")


def _field_errors(error: ValidationError) -> list[FieldError]:
    errors: list[FieldError] = []
    for one in error.errors(include_url=False):
        if one["type"] == "value_error" and not one["loc"]:
            errors += [FieldError(field, reason) for field, reason in json.loads(str(one["ctx"]["error"]))]
        else:
            field = ".".join(str(part) for part in one["loc"] if part not in ("datetime", "is_instance"))
            errors.append(FieldError(field, one["msg"][0].lower() + one["msg"][1:]))
    return errors
