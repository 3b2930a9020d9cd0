"""What a call can be found by."""

from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.ids import AttemptId


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
class Others:
    """What the ledger knows of the other attempts between an attempt's two numbers, made within minutes of it.

    `call_ids`: their calls. `is_one_unknown`: one of them is live, and its call is not known either.
    """

    call_ids: frozenset[str] = frozenset()
    is_one_unknown: bool = False
