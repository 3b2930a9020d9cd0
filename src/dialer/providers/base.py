"""The contract between the engine and a telephone network.

A provider places calls and reports on them. It never retries on its own and never decides what a result means for the
contact. Its answers are split by what is surely known, because a call that *may* exist must never be placed again.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.domain.call import CallHandle as CallHandle
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import CauseClass
from dialer.providers.egress import THIS_MACHINE, Egress

# What a request may take from being written to leaving, without its connection being slow.
MARGIN_SECONDS = 1


@dataclass(frozen=True, slots=True)
class ContactCard:
    """The contact of a call, as it was loaded."""

    name: str | None = None
    external_id: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallRequest:
    """One call to place.

    `place_by`: after this moment the request must not leave this machine, and a network that can read it must refuse
    the call, for rescue may have given the contact back by then. `ring_by`: the end of the calling window; a call that
    has not begun to ring by then must be given up. None = the window does not end.
    `connection`: where an answered call goes, as the agent says for this provider. `detect_machine`: the batch wants to
    know whether a machine has answered. `contact`: what an agent may want to know of whom it talks to.
    `permitted_until`: until then what allowed the call (its batch is active, its number not suppressed) surely still
    does; a pause is confirmed after it. Adapters ask `leave_by` or `stale_at` just before the bytes leave, when they
    have waited for the connection.
    """

    attempt_id: AttemptId
    to_number: str
    from_number: str
    connection: Mapping[str, Any]
    ring_timeout_seconds: float
    place_by: DateTime
    ring_by: DateTime | None
    detect_machine: bool = False
    contact: ContactCard = ContactCard()
    permitted_until: DateTime | None = None

    @property
    def leave_by(self) -> DateTime:
        """From this moment on the request must not leave this machine (P1, P3, P4). Compared at the last moment."""
        return min(at for at in (self.place_by, self.ring_by, self.permitted_until) if at is not None)

    def ring_seconds(self, now: DateTime) -> int:
        """How long it may ring if it leaves within a second: at most until `ring_by`, at least one second.

        For networks that know no deadline.
        """
        left = self.ring_timeout_seconds
        if self.ring_by is not None:
            left = min(left, (self.ring_by - now).total_seconds() - MARGIN_SECONDS)
        return max(1, int(left))

    def stale_at(self, written_at: DateTime) -> DateTime:
        """From when a request must not leave that states its `ring_seconds` as of `written_at`.

        Leaving later, the call would ring past `ring_by` (P3).
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
    """The call surely does not exist and will not.

    `retry_after_seconds`: when the contact is due again, where that is known; of the class `rate`, how long the network
    wants to be left alone.
    """

    cause: str
    cause_class: CauseClass
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Unclear:
    """The request may have arrived: the call may ring."""

    reason: str


Placement = Placed | Refused | Unclear

TOO_LATE = Refused("too_late", CauseClass.POLICY, retry_after_seconds=1.0)
"""The request did not leave in time, by which no trunk has failed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The network knows the call: `events` is all that it can say of it, oldest first, up to `ended`."""

    provider_call_id: str
    events: Sequence[CallEvent]


@dataclass(frozen=True, slots=True)
class Absent:
    """The network was asked and says that the call does not exist and never did."""


@dataclass(frozen=True, slots=True)
class NotFoundNow:
    """The network was asked and does not have the call now: it never did, or the call is over. It keeps no record.

    Which of the two it is, is decided by whether its reports were heard without a break since the attempt was made.
    `has_restarted`: it was started after the attempt was made, so that no report of the call will come.
    """

    has_restarted: bool = False


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """The network could not be asked, or cannot tell. Nothing is known."""

    reason: str


@dataclass(frozen=True, slots=True)
class Candidates:
    """The network knows no id of ours. It has these calls between the attempt's numbers, from when it was made.

    The engine leaves out the calls that the ledger knows as other attempts'. `otherwise`: the answer if none is left.
    """

    calls: Sequence[Seen]
    otherwise: Absent | LookupFailed


LookupResult = Seen | Candidates | Absent | NotFoundNow | LookupFailed

OnEvents = Callable[[Sequence[CallEvent]], Awaitable[None]]
OnLinkState = Callable[[str | None], Awaitable[None]]
"""Told by `listen` how its connection is. None: it is up, and whatever the network has sent before is handed over; to
be said when it comes up, and again every few seconds after asking the other side. Else the reason why it is not up."""


class Provider(Protocol):
    """One trunk's way to its network. Every method may be called from many tasks at once, on one event loop."""

    async def place(self, request: CallRequest) -> Placement:
        """Ask the network for one call, once.

        Never raises for what the network does: whatever goes wrong after the request may have left is `Unclear`,
        whatever goes wrong before that is `Refused` with the class `infrastructure`.
        """

    async def look_up(self, call: CallHandle) -> LookupResult:
        """Say what the network knows of the call that was placed for this attempt."""

    async def hang_up(self, call: CallHandle) -> None:
        """End the call if it is up. Called twice: the same. The end is reported as always.

        Raises Unavailable when the network did not say that it was done, or it is not known which call it is.
        """

    async def health(self) -> str | None:
        """Return None if calls can be placed now, else the reason in plain words."""

    async def listen(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        """Receive reports until cancelled, reconnecting as needed, and pass them on.

        `on_events` returns once the reports are committed; only then may they be acknowledged to the network, so that
        none is lost when this process dies in between. What may have been missed while there was no connection is
        found by look-ups, which `on_link_state` brings about. Networks that report by webhook return at once.
        """

    async def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A request that claims to come from a network. `url`: as the network was told to call it.

    `headers`: with lower-case names. `attempt_id`: the one in the URL, where its trunk's URLs have one.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    attempt_id: AttemptId | None
    now: DateTime


@runtime_checkable
class ReportsByWebhook(Protocol):
    """A provider whose network reports by HTTP requests to us."""

    def read_reports(self, posted: WebhookRequest) -> Sequence[CallEvent]:
        """Read what is reported; nothing, where it is of no interest.

        Raises:
            NotSigned: it is not proved to come from this trunk's network.
            InvalidInput: it does, and cannot be read.
        """


@runtime_checkable
class ChecksDestinations(Protocol):
    """A provider whose network can be asked whether there is anything where an agent's answered calls go."""

    async def missing_destination(self, connection: Mapping[str, Any]) -> str | None:
        """Say in plain words why whoever answers would be dropped; None: it is there, or the network does not say."""


@dataclass(frozen=True, slots=True)
class ProviderEnvironment:
    """What a provider gets from the process it lives in.

    `secret`: reads a value of the trunk's config, which may refer to an environment variable (`env:TRUNK_…`); raises
    Unavailable where that is not set, or not for the trunk's workspace. `public_url`: where networks reach our API,
    without a slash at its end; None: it was not set. `egress`: every connection of the trunk is made by it.
    """

    clock: Callable[[], DateTime]
    secret: Callable[[str], str]
    public_url: str | None
    egress: Egress = THIS_MACHINE


@dataclass(frozen=True, slots=True)
class ProviderPlugin:
    """A kind of provider: how its trunks are configured, and how one of them is made.

    `check`: refuses a config that cannot be used; raises InvalidInput with each wrong field. `connect`: makes the
    provider of one trunk without touching the network; raises InvalidInput or Unavailable. `calls_per_second`: the
    limit of a new trunk that names none. `needs_listener`: its networks report to the listener's connection alone and
    keep no record of what is over, so no call is placed while no listener hears the trunk. `shared_link`: what is the
    same in the configs of all trunks that can be heard on one connection, which tells of every call of its network,
    whichever trunk it is of; None: each trunk has its own connection, on which its own calls alone are told of.
    `is_switch`: answered calls go to a place on a switch, which drops them at once where that does not exist.
    `permits_agent`: says whether a trunk of this config lets answered calls go where an agent's connection says.
    """

    check: Callable[[Mapping[str, Any]], object]
    connect: Callable[[TrunkId, Mapping[str, Any], ProviderEnvironment], Provider]
    calls_per_second: float | None = None
    needs_listener: bool = False
    shared_link: Callable[[Mapping[str, Any]], Hashable] | None = None
    is_switch: bool = False
    permits_agent: Callable[[Mapping[str, Any], Mapping[str, Any]], bool] = lambda *_: True
