"""A call at its network: what the network can find it by, and the events that a provider reports about it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pendulum import DateTime

from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import Outcome


class EventKind(StrEnum):
    """What a provider reports about a call, in the order in which a call goes through it."""

    RINGING = "ringing"  #: The phone rings, or the network plays early media. May be missing.
    ANSWERED = "answered"  #: The call was answered, by a person or a machine.
    ENDED = "ended"  #: The call is over; the event carries its outcome.


class HungUpBy(StrEnum):
    """Who ended a call."""

    CALLER = "caller"  #: Our side: Dialer, its switch or the agent.
    CALLEE = "callee"  #: The person, or the person's phone.
    NETWORK = "network"  #: Anything between the two.


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What the network itself reports of a call's end, and what its agent does; None: not known.

    `sip_code`: the final response, 300 to 699, of a call that was not answered. `q850_cause`: cause of ITU-T Q.850.
    `sip_call_id`: the Call-ID by which the network's operator finds the call. `disposition`: the agent's own word for
    what became of the call, 1 to 100 characters. `opt_out`: the person asked not to be called again. `callback_at`:
    when the person asked to be called again, as it was reported; settle reads and checks it.
    """

    sip_code: int | None = None
    q850_cause: int | None = None
    sip_call_id: str | None = None
    hung_up_by: HungUpBy | None = None
    disposition: str | None = None
    opt_out: bool | None = None
    callback_at: str | None = None

    @property
    def is_agents(self) -> bool:
        """Say whether the agent has reported anything."""
        return self.disposition is not None or bool(self.opt_out) or self.callback_at is not None


NOTHING_SAID = CallFacts()


@dataclass(frozen=True, slots=True)
class CallEvent:
    """One report about one call. Late, repeated and reordered reports are normal.

    `key` is the same each time the provider repeats this report, and differs from those of all other reports of its
    trunk. `outcome`, `facts` and `talk_seconds` (as measured by the provider) are set on `ended`; `outcome` also on a
    second `answered` report, where the network finds out during the call what has answered.
    """

    key: str
    attempt_id: AttemptId
    kind: EventKind
    at: DateTime
    outcome: Outcome | None = None
    cause: str | None = None
    talk_seconds: float | None = None
    provider_call_id: str | None = None
    facts: CallFacts = NOTHING_SAID

    @property
    def early_outcome(self) -> Outcome | None:
        """Return the outcome that is reported while the call is up; it replaces `answered` at its end."""
        return self.outcome if self.kind is EventKind.ANSWERED else None

    @classmethod
    def of(
        cls,
        attempt_id: AttemptId,
        kind: EventKind,
        at: DateTime,
        *,
        outcome: Outcome | None = None,
        cause: str | None = None,
        talk_seconds: float | None = None,
        provider_call_id: str | None = None,
        facts: CallFacts = NOTHING_SAID,
    ) -> Self:
        """Make an event whose key is that of this step of this attempt, by whatever way it was reported.

        Keys are stored: another format would let a report that is repeated after an upgrade count twice.
        """
        key = f"{attempt_id}:{kind}"
        return cls(key, attempt_id, kind, at, outcome, cause, talk_seconds, provider_call_id, facts)


@dataclass(frozen=True, slots=True)
class CallHandle:
    """An attempt and what its network can find its call by. `created_at`: at most half a minute before it was placed.

    `provider_call_id` None: the network has not answered or reported yet.
    """

    attempt_id: AttemptId
    to_number: str
    from_number: str
    created_at: DateTime
    provider_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class OtherAttempts:
    """The other attempts between the same two numbers within minutes, as the ledger knows them.

    `call_ids`: their calls. `is_one_unknown`: one of them is live and its call is not known either.
    """

    call_ids: frozenset[str] = frozenset()
    is_one_unknown: bool = False
