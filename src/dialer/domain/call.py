"""A call at its network: what it can be found by, and the events that a provider reports about it."""

from dataclasses import dataclass
from enum import StrEnum

from pendulum import DateTime

from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import Outcome


class EventKind(StrEnum):
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDED = "ended"


class HungUpBy(StrEnum):
    """Who ended a call."""

    CALLER = "caller"  #: Our side: Dialer, its switch or the agent.
    CALLEE = "callee"  #: The person, or the phone.
    NETWORK = "network"  #: Something between the two.


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What the network itself has said of a call's end; None: not known.

    `sip_code`: its final response, 300 to 699, where the call was not answered. `q850_cause`: ITU-T Q.850.
    `sip_call_id`: the Call-ID by which its operator finds the call.
    """

    sip_code: int | None = None
    q850_cause: int | None = None
    sip_call_id: str | None = None
    hung_up_by: HungUpBy | None = None


NOTHING_SAID = CallFacts()


@dataclass(frozen=True, slots=True)
class CallEvent:
    """One report about one call. Late, repeated and reordered ones are normal.

    `key` is the same each time the provider repeats this report, and unlike that of any other report of its trunk.
    `outcome` is set on `ended` alone, as `facts` are. `talk_seconds` is what the provider measured, on `ended` alone.
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


@dataclass(frozen=True, slots=True)
class CallHandle:
    """An attempt, and what its call can be found by at its network. `created_at`: half a minute at most before it was
    placed. `provider_call_id` None: the network was not heard yet.
    """

    attempt_id: AttemptId
    to_number: str
    from_number: str
    created_at: DateTime
    provider_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class OtherAttempts:
    """What the ledger knows of the other attempts between an attempt's two numbers, made within minutes of it.

    `call_ids`: their calls. `is_one_unknown`: one of them is live, and its call is not known either.
    """

    call_ids: frozenset[str] = frozenset()
    is_one_unknown: bool = False
