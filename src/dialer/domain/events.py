"""What a provider reports about a call, in our words."""

from dataclasses import dataclass
from enum import StrEnum

from pendulum import DateTime

from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import Outcome


class EventKind(StrEnum):
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class CallEvent:
    """One report about one call. Late, repeated and reordered ones are normal.

    `key` is the same each time the provider repeats this report, and unlike that of any other report of its trunk.
    `outcome` is set on `ended` alone. `talk_seconds` is what the provider measured, on `ended` alone.
    """

    key: str
    attempt_id: AttemptId
    kind: EventKind
    at: DateTime
    outcome: Outcome | None = None
    cause: str | None = None
    talk_seconds: float | None = None
    provider_call_id: str | None = None
