"""What a platform reports of its calls, by webhook and in look-ups.

In: JSON. Out: call events, or InvalidInput with the path of each wrong field. Unknown fields are ignored, so that a
platform may add some without losing its reports. Known ones must be right, and a body is taken whole or not at all, so
that its sender learns what is wrong.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import pendulum
from pendulum import DateTime
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import from_json

from dialer.domain import sip
from dialer.domain.call import CallEvent, CallFacts, EventKind, HungUpBy
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import Outcome
from dialer.domain.timeouts import CALL_SECONDS
from dialer.domain.validation import field_errors, wrong_field
from dialer.errors import InvalidInput, UnreadableBody
from dialer.providers.base import CallHandle, LookupFailed, Seen

MAX_REPORTS = 1000
LONGEST_BODY = 1024 * 1024


def _printable(text: str) -> str:
    if not text.isprintable():
        raise wrong_field("must be printable")
    return text


def _as_text(value: object) -> str | None:
    return None if value is None else str(value)


def _in_utc(at: datetime) -> DateTime:
    try:
        return pendulum.instance(at).in_timezone("UTC")
    except OverflowError:
        raise wrong_field("must be between the years 1 and 9999 in UTC") from None


Text = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_printable)]


class Report(BaseModel):
    """One event of one call."""

    model_config = ConfigDict(frozen=True, strict=True)

    attempt_id: UUID
    event: EventKind
    at: Annotated[AwareDatetime, AfterValidator(_in_utc)]
    outcome: Annotated[Outcome | None, Field(validate_default=True)] = None
    cause: Text | None = None
    talk_seconds: Annotated[float | None, Field(ge=0, le=CALL_SECONDS, allow_inf_nan=False)] = None
    call_id: Text | None = None
    sip_code: Annotated[int | None, Field(ge=100, le=sip.LAST_FINAL)] = None
    q850_cause: Annotated[int | None, Field(ge=0, le=sip.LAST_CAUSE)] = None
    sip_call_id: Text | None = None
    hung_up_by: HungUpBy | None = None
    disposition: Annotated[Text | None, Field(max_length=100)] = None
    opt_out: bool | None = None
    # Read when the call is settled: a wrong one must not keep the end of the call from being stored.
    callback_at: Annotated[str | None, BeforeValidator(_as_text)] = None

    @field_validator(
        "outcome", "talk_seconds", "sip_code", "q850_cause", "hung_up_by", "disposition", "opt_out", "callback_at"
    )
    @classmethod
    def _only_at_the_end(cls, value: object, info: ValidationInfo) -> object:
        kind = info.data.get("event")
        if kind is EventKind.ENDED and value is None and info.field_name == "outcome":
            raise wrong_field(f"must say how the call ended: {', '.join(Outcome)}")
        if kind in (EventKind.RINGING, EventKind.ANSWERED) and value is not None:
            raise wrong_field("belongs to the event ended alone")
        return value

    def to_event(self) -> CallEvent:
        """The key is the same for this step of this call, however it is reported, and however often."""
        return CallEvent.of(
            AttemptId(self.attempt_id),
            self.event,
            pendulum.instance(self.at),
            outcome=self.outcome,
            cause=self.cause,
            talk_seconds=self.talk_seconds,
            provider_call_id=self.call_id,
            facts=CallFacts(
                self.sip_code,
                self.q850_cause,
                self.sip_call_id,
                self.hung_up_by,
                self.disposition,
                self.opt_out,
                self.callback_at,
            ),
        )


class _Reports(BaseModel):
    events: Annotated[list[Report], Field(max_length=MAX_REPORTS)]


class _Call(_Reports):
    call_id: Text | None = None


def read_reports(body: bytes) -> Sequence[CallEvent]:
    """Read one event, or `{"events": [...]}`."""
    if len(body) > LONGEST_BODY:
        raise InvalidInput.of("body", f"is larger than {LONGEST_BODY // 1024} KiB; send fewer events at once")
    try:
        payload = from_json(body)
    except ValueError:
        raise UnreadableBody.of("body", "is not JSON") from None
    several = isinstance(payload, dict) and "events" in payload
    try:
        reports = _Reports.model_validate_json(body).events if several else [Report.model_validate_json(body)]
    except ValidationError as error:
        raise InvalidInput(field_errors(error)) from None
    return [report.to_event() for report in reports]


def read_sighting(body: bytes, call: CallHandle) -> Seen | LookupFailed:
    """Read what a look-up says of this call, and of no other."""
    try:
        record = _Call.model_validate_json(body)
    except ValidationError as error:
        return LookupFailed(f"what the look-up says cannot be read: {InvalidInput(field_errors(error))}"[:500])
    if any(report.attempt_id != call.attempt_id for report in record.events):
        return LookupFailed("the look-up tells of another call")
    steps = sorted((report.to_event() for report in record.events), key=lambda event: list(EventKind).index(event.kind))
    return Seen(record.call_id or call.provider_call_id or str(call.attempt_id), tuple(steps))


def names_attempt(body: bytes | None, attempt_id: AttemptId) -> bool:
    """Say whether a JSON object names this attempt."""
    try:
        payload = from_json(body or b"")
    except ValueError:
        return False
    return isinstance(payload, dict) and payload.get("attempt_id") == str(attempt_id)
