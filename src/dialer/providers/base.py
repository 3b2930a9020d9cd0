"""The contract between the engine and a telephone network.

A provider places calls and reports on them. It never retries on its own and never decides what a result means for the
contact. Its answers are split by what is surely known, because a call that *may* exist must never be placed again.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Protocol, runtime_checkable

from pendulum import DateTime
from pydantic import BaseModel

from dialer.domain.call import CallEvent
from dialer.domain.call import CallHandle as CallHandle
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.errors import FieldError
from dialer.providers.egress import THIS_MACHINE, Egress

# The time that a request may take from being written to leaving, when its connection is already there.
MARGIN_SECONDS = 1


@dataclass(frozen=True, slots=True)
class ContactCard:
    """The contact of a call, as it was loaded."""

    name: str | None = None
    external_id: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallRequest:
    """One call to place. Adapters compare `leave_by` or `stale_at` with the clock just before the bytes leave."""

    attempt_id: AttemptId
    to_number: str
    """In E.164."""
    from_number: str
    """The outbound number, in E.164."""
    connection: Mapping[str, Any]
    """Where an answered call goes: the agent's connection for this provider."""
    ring_timeout_seconds: float
    place_by: DateTime
    """After this moment the request must not leave this machine, and a network that can read it must refuse the call:
    rescue may have given the contact to another attempt by then."""
    ring_by: DateTime | None
    """The end of the calling window: a call that does not ring by then must be given up. None: it does not end."""
    detect_machine: bool = False
    """The batch wants to know whether a machine has answered."""
    contact: ContactCard = ContactCard()
    """What an agent may want to know of the person it talks to."""
    permitted_until: DateTime | None = None
    """Until then the batch is surely still active and the number not suppressed; a pause is confirmed after it."""

    @property
    def leave_by(self) -> DateTime:
        """From this moment on the request must not leave this machine (P1, P3, P4)."""
        return min(at for at in (self.place_by, self.ring_by, self.permitted_until) if at is not None)

    def ring_seconds(self, now: DateTime) -> int:
        """Return how long the call may ring, for networks that take no deadline.

        Args:
            now: the moment in which the request is written. It may leave up to a second later.

        Returns:
            Whole seconds, at least one, that end by `ring_by`.
        """
        left = self.ring_timeout_seconds
        if self.ring_by is not None:
            left = min(left, (self.ring_by - now).total_seconds() - MARGIN_SECONDS)
        return max(1, int(left))

    def stale_at(self, written_at: DateTime) -> DateTime:
        """Return from when on a request that contains `ring_seconds` must not leave.

        Args:
            written_at: the moment for which its `ring_seconds` were computed.

        Returns:
            A moment. A request that left later would ring past `ring_by` (P3).
        """
        if self.ring_by is None:
            return self.leave_by
        return min(self.leave_by, self.ring_by.subtract(seconds=self.ring_seconds(written_at)))


@dataclass(frozen=True, slots=True)
class Placed:
    """The network has the call."""

    provider_call_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The call surely does not exist and will not."""

    cause: str
    """A `RefusalCause` where there is one for the fact, else the network's own word."""
    cause_class: CauseClass
    retry_after_seconds: float | None = None
    """When the contact is due again, where that is known; of the class `rate`, when the network takes calls again."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """The request may have arrived: the call may ring."""

    reason: str


Placement = Placed | Refused | Unclear

TOO_LATE = Refused(RefusalCause.TOO_LATE, CauseClass.POLICY, retry_after_seconds=1.0)
"""The request did not leave in time. This does not count as a failure of the trunk."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The network knows the call."""

    provider_call_id: str
    events: Sequence[CallEvent]
    """All that it can say of the call, oldest first, up to `ended`."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The network was asked and says that the call does not exist and never did."""


@dataclass(frozen=True, slots=True)
class NotFoundNow:
    """The network was asked and does not have the call now: it never did, or the call is over. It keeps no record.

    The engine decides which of the two it is, by whether the listener heard the network without a break since the
    attempt was made.
    """

    has_restarted: bool = False
    """The network was started after the attempt was made, so that no report of the call will come."""


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """The network could not be asked, or cannot tell. Nothing is known."""

    reason: str


@dataclass(frozen=True, slots=True)
class Candidates:
    """The network knows no id of ours. It has these calls between the attempt's numbers, from when it was made."""

    calls: Sequence[Seen]
    """The engine leaves out those that the ledger knows as calls of other attempts."""
    otherwise: Absent | LookupFailed
    """The answer where none is left."""


LookupResult = Seen | Candidates | Absent | NotFoundNow | LookupFailed

OnEvents = Callable[[Sequence[CallEvent]], Awaitable[None]]
"""Called by `listen` with reports. It returns when they are committed, and raises when they are not."""

OnLinkState = Callable[[str | None], Awaitable[None]]
"""Called by `listen` with the state of its connection: None when it is up, else the reason why it is not. None is
passed when the connection comes up, and again every few seconds after the other side answered; all that the network
sent before must have been handed over by then."""


class Provider(Protocol):
    """One trunk's way to its network. Every method may be called from many tasks at once, on one event loop."""

    async def place(self, request: CallRequest) -> Placement:
        """Ask the network for one call, once.

        Never raises for what the network does.

        Args:
            request: the call.

        Returns:
            `Unclear` for whatever goes wrong after the request may have left. `Refused` with the class
            `infrastructure` for whatever goes wrong before that.
        """

    async def look_up(self, call: CallHandle) -> LookupResult:
        """Ask the network what it knows of the call that was placed for an attempt.

        Never raises for what the network does.

        Args:
            call: the attempt, its numbers, and the network's id of the call where it is known.

        Returns:
            `Absent` only where the network surely says that the call never existed: the contact is called again then.
            `LookupFailed` where nothing is known.
        """

    async def hang_up(self, call: CallHandle) -> None:
        """End the call if it is up. May be called twice. The end is reported as always.

        Args:
            call: the attempt, its numbers, and the network's id of the call where it is known.

        Raises:
            Unavailable: the network did not confirm that the call is over, or it is not known which call it is.
        """

    async def health(self) -> str | None:
        """Check whether calls can be placed now.

        Returns:
            None if they can, else one sentence that tells an operator what to mend.
        """

    async def listen(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        """Receive reports until cancelled, reconnect as needed, and hand the reports over.

        Networks that report by webhook return at once. What was missed while there was no connection is found by
        look-ups, which the engine starts when it hears of the gap.

        Args:
            on_events: is given reports, and returns once they are committed. Only then may they be acknowledged to
                the network, so that none is lost when this process dies in between.
            on_link_state: is given the state of the connection.

        Raises:
            Exception: what `on_events` raised.
        """

    async def close(self) -> None:
        """Close all connections."""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """An HTTP request that claims to come from a network."""

    url: str
    """As the network was told to call it."""
    headers: Mapping[str, str]
    """With lower-case names."""
    body: bytes
    attempt_id: AttemptId | None
    """The one in the URL, where its trunk's URLs have one."""
    now: DateTime


@runtime_checkable
class ReportsByWebhook(Protocol):
    """A provider whose network reports by HTTP requests to us."""

    def read_reports(self, request: WebhookRequest) -> Sequence[CallEvent]:
        """Check that a request comes from the network, and read its reports.

        Args:
            request: what was posted to a URL of this trunk.

        Returns:
            The events; none, where the report is of no interest.

        Raises:
            NotSigned: it is not proved to come from this trunk's network.
            InvalidInput: it does, and cannot be read.
        """


@runtime_checkable
class ChecksDestinations(Protocol):
    """A provider whose network can be asked whether an agent's destination exists."""

    async def missing_destination(self, connection: Mapping[str, Any]) -> str | None:
        """Ask the network whether answered calls of an agent have somewhere to go.

        Args:
            connection: the agent's connection for this provider.

        Returns:
            Why answered calls would be dropped; None: the destination exists, or the network does not say.
        """


@dataclass(frozen=True, slots=True)
class ProviderEnvironment:
    """What a provider gets from the process that it runs in."""

    clock: Callable[[], DateTime]
    secret: Callable[[str], str]
    """Resolves a value of the trunk's config that may refer to an environment variable (`env:TRUNK_…`). Raises
    Unavailable where the variable is not set, or not for the trunk's workspace."""
    public_url: str | None
    """Where networks reach our API, without a slash at its end; None: DIALER_PUBLIC_URL is not set."""
    egress: Egress = THIS_MACHINE
    """Makes every connection of the trunk."""


@dataclass(frozen=True, slots=True)
class ProviderPlugin:
    """One provider, as its package registers it under the entry points `dialer.providers`."""

    check: Callable[[Mapping[str, Any]], object]
    """Checks a trunk's config; raises InvalidInput with each wrong field."""
    connect: Callable[[TrunkId, Mapping[str, Any], ProviderEnvironment], Provider]
    """Makes the provider of one trunk without touching the network; raises InvalidInput or Unavailable."""
    calls_per_second: float | None = None
    """The limit of a new trunk that names none."""
    connection: type[BaseModel] | UnionType | None = None
    """The schema of an agent's `connection` for this provider, or a union of several. None: any JSON object."""
    needs_listener: bool = False
    """The network reports to the listener's connection alone and keeps no record of calls that are over. No call is
    placed on a trunk while no listener hears it."""
    shared_link: Callable[[Mapping[str, Any]], Hashable] | None = None
    """Returns what is equal in the configs of all trunks that can be heard on one connection, which reports every call
    of its network. None: each trunk has its own connection, which reports its own calls alone."""
    is_switch: bool = False
    """Answered calls go to a place on a switch, which drops them at once where that does not exist."""
    agent_refusal: Callable[[Mapping[str, Any], Mapping[str, Any]], FieldError | None] = lambda *_: None
    """Given a trunk's config and an agent's connection: which of its fields the trunk refuses ("": the whole), and why;
    None: it lets answered calls go there."""
