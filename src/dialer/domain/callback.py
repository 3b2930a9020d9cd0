"""Callbacks: a person asks to be called again at a certain time, at which a call must be allowed to start. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pendulum import DateTime

from dialer.domain.batch import Batch
from dialer.domain.calling_span import next_span_at, span_of
from dialer.domain.lane import Lane
from dialer.domain.timezones import moment_of
from dialer.domain.window import CallingWindow
from dialer.errors import InvalidInput

LENGTH_OF_A_DATE = len("2030-01-31")


@dataclass(frozen=True, slots=True)
class CallbackAnswer:
    """What becomes of a callback that was asked for in a call. `at`: it is granted. `refused`: why one is not."""

    at: DateTime | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class CalledBack:
    """Whom a callback concerns: the batch, and the contact's lane and expiry. `field`: what errors name."""

    batch: Batch
    lane: Lane
    expires_at: DateTime | None
    field: str = "callback_at"

    def moment(self, asked: datetime) -> DateTime:
        """Return the moment that is meant; without an offset the time is read in the zone of the batch."""
        if self.batch.window is None:
            raise InvalidInput.of(self.field, "cannot be checked: the calling window of the batch is not readable")
        try:
            return moment_of(asked, self.batch.window.timezone)
        except (ValueError, OverflowError):
            raise InvalidInput.of(self.field, "is no moment between the years 1 and 9999") from None

    def check(self, at: DateTime, now: DateTime) -> None:
        """Check that a call may start at this moment; raises InvalidInput."""
        assert self.batch.window is not None
        if at <= now:
            raise InvalidInput.of(self.field, "must lie ahead")
        ends = [end for end in (self.batch.expires_at, self.expires_at) if end is not None]
        if ends and at >= min(ends):
            reason = f"must be earlier than {min(ends).to_iso8601_string()}, when the contact expires"
            raise InvalidInput.of(self.field, reason)
        self._check_window(at, self.lane.windows(self.batch.window), self.batch.window)

    def _check_window(self, at: DateTime, windows: Sequence[CallingWindow], own: CallingWindow) -> None:
        if span_of(windows, own, at) is not None:
            return
        next_at = next_span_at(windows, at)
        opens_at = next_at and next_at.to_iso8601_string()
        advice = f"calls may start again at {opens_at}" if opens_at else "no call may ever start after it"
        raise InvalidInput.of(self.field, f"lies outside the calling window; {advice}")

    def answer(self, reported: str, now: DateTime) -> CallbackAnswer:
        """Decide about a callback that a network has reported, whatever it has written."""
        try:
            at = self.moment(read_reported(reported))
            self.check(at, now)
        except InvalidInput as error:
            return CallbackAnswer(refused=error.errors[0].reason)
        return CallbackAnswer(at)


def read_reported(text: str) -> datetime:
    """Read the time that a network has reported; raises InvalidInput."""
    try:
        if len(text) > LENGTH_OF_A_DATE:
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidInput.of("callback_at", "must be a time in ISO 8601, as in 2030-01-31T18:00+01:00")
