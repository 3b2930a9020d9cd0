"""The contract between the engine and a telephone network.

A provider places calls and reports on them. It never retries on its own and never decides what a result means for the
contact. Its answers are split by what is surely known, because a call that *may* exist must never be placed again.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pendulum import DateTime

from dialer.domain.events import CallEvent
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import CauseClass


@dataclass(frozen=True, slots=True)
class CallRequest:
    """One call to place.

    `place_by`: after this moment the request must not leave this machine, and a network that can read it must refuse
    the call, for rescue may have given the contact back by then. `ring_by`: the end of the calling window; a call that
    has not begun to ring by then must be given up. None = the window does not end.
    `connection`: where an answered call goes, as the agent says for this provider.
    """

    attempt_id: AttemptId
    to_number: str
    from_number: str
    connection: Mapping[str, Any]
    ring_timeout_seconds: float
    place_by: DateTime
    ring_by: DateTime | None


@dataclass(frozen=True, slots=True)
class Placed:
    """The network has the call."""

    provider_call_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The call surely does not exist and will not."""

    cause: str
    cause_class: CauseClass


@dataclass(frozen=True, slots=True)
class Unclear:
    """The request may have arrived: the call may ring."""

    reason: str


Placement = Placed | Refused | Unclear


@dataclass(frozen=True, slots=True)
class Seen:
    """The network knows the call: `events` is all that it can say of it, oldest first, up to `ended`."""

    provider_call_id: str
    events: Sequence[CallEvent]


@dataclass(frozen=True, slots=True)
class Absent:
    """The network was asked and says that the call does not exist and never did."""


@dataclass(frozen=True, slots=True)
class NoWord:
    """The network could not be asked, or cannot tell. Nothing is known."""

    reason: str


Sighting = Seen | Absent | NoWord

HandOver = Callable[[Sequence[CallEvent]], Awaitable[None]]


class Provider(Protocol):
    """One trunk's way to its network. Every method may be called from many tasks at once, on one event loop."""

    async def place(self, request: CallRequest) -> Placement:
        """Ask the network for one call, once.

        Never raises for what the network does: whatever goes wrong after the request may have left is `Unclear`,
        whatever goes wrong before that is `Refused` with the class `infrastructure`.
        """

    async def look_up(self, attempt_id: AttemptId) -> Sighting:
        """Say what the network knows of the call that was placed for this attempt."""

    async def hang_up(self, attempt_id: AttemptId) -> None:
        """End the call if it is up. Called twice: the same. The end is reported as always."""

    async def health(self) -> str | None:
        """Return None if calls can be placed now, else the reason in plain words."""

    async def listen(self, hand_over: HandOver) -> None:
        """Receive reports until cancelled, reconnecting as needed, and pass them on.

        `hand_over` returns once the reports are committed; only then may they be acknowledged to the network, so that
        none is lost when this process dies in between. Networks that report by webhook have nothing to do here.
        """

    async def close(self) -> None:
        """Let go of connections."""
