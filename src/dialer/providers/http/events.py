"""What a platform tells of its calls, in reports and in look-ups.

In: JSON. Out: call events, or InvalidInput with the path of each wrong field. Fields that are not known are passed
over: a platform that says more, tomorrow, must not lose its reports over it. Known ones must be right, and a body is
taken whole or not at all, so that its sender hears of what is wrong.
"""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import pendulum
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
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
from dialer.errors import InvalidInput, UnreadableBody
from dialer.providers.base import CallHandle, LookupFailed, Seen
from dialer.providers.http.fields import invalid, refusal

MAX_REPORTS = 1000
LONGEST_BODY = 1024 * 1024


def _printable(text: str) -> str:
    if not text.isprintable():
        raise refusal("must be printable")
    return text


Text = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_printable)]


class Report(BaseModel):
    """One event of one call."""

    model_config = ConfigDict(frozen=True, strict=True)

    attempt_id: UUID
    event: EventKind
    at: AwareDatetime
    outcome: Annotated[Outcome | None, Field(validate_default=True)] = None
    cause: Text | None = None
    talk_seconds: Annotated[float | None, Field(ge=0, le=CALL_SECONDS, allow_inf_nan=False)] = None
    call_id: Text | None = None
    sip_code: Annotated[int | None, Field(ge=100, le=sip.LAST_FINAL)] = None
    q850_cause: Annotated[int | None, Field(ge=0, le=sip.LAST_CAUSE)] = None
    sip_call_id: Text | None = None
    hung_up_by: HungUpBy | None = None

    @field_validator("outcome", "talk_seconds", "sip_code", "q850_cause", "hung_up_by")
    @classmethod
    def _of_the_end(cls, value: object, info: ValidationInfo) -> object:
        kind = info.data.get("event")
        if kind is EventKind.ENDED and value is None and info.field_name == "outcome":
            raise refusal(f"must say how the call ended: {', '.join(Outcome)}")
        if kind in (EventKind.RINGING, EventKind.ANSWERED) and value is not None:
            raise refusal("belongs to the event ended alone")
        return value

    def to_event(self) -> CallEvent:
        """The key is that of this step of this call, by whatever way it is told, and however often."""
        return CallEvent(
            key=f"{self.attempt_id}:{self.event}",
            attempt_id=AttemptId(self.attempt_id),
            kind=self.event,
            at=pendulum.instance(self.at).in_timezone("UTC"),
            outcome=self.outcome,
            cause=self.cause,
            talk_seconds=self.talk_seconds,
            provider_call_id=self.call_id,
            facts=CallFacts(self.sip_code, self.q850_cause, self.sip_call_id, self.hung_up_by),
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
        found = from_json(body)
    except ValueError:
        raise UnreadableBody.of("body", "is not JSON") from None
    several = isinstance(found, dict) and "events" in found
    try:
        read = _Reports.model_validate_json(body) if several else Report.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None
    return [one.to_event() for one in (read.events if isinstance(read, _Reports) else [read])]


def read_sighting(body: bytes, call: CallHandle) -> Seen | LookupFailed:
    """Read what a look-up says of this call, and of no other."""
    try:
        told = _Call.model_validate_json(body)
    except ValidationError as error:
        return LookupFailed(f"what the look-up says cannot be read: {invalid(error)}"[:500])
    if any(one.attempt_id != call.attempt_id for one in told.events):
        return LookupFailed("the look-up tells of another call")
    steps = sorted((one.to_event() for one in told.events), key=lambda event: list(EventKind).index(event.kind))
    return Seen(told.call_id or call.provider_call_id or str(call.attempt_id), tuple(steps))


def is_of(body: bytes | None, attempt_id: AttemptId) -> bool:
    """Say whether a JSON object names this attempt."""
    try:
        found = from_json(body or b"")
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("attempt_id") == str(attempt_id)
