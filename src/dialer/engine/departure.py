"""A departure: claimed calls of one trunk that leave together. Made by dispatch, given to place; nothing is stored.

A crash loses departures; the attempts are `reserved` in the ledger, where rescue finds them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pendulum import DateTime

from dialer.domain.attempt import ReservedAttempt
from dialer.domain.batch import Batch
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.pacing import RateLimit
from dialer.domain.slots import SlotGrant
from dialer.domain.timeouts import PLACE_SECONDS, RING_SECONDS
from dialer.domain.trunk import Trunk
from dialer.providers.base import CallRequest, ContactCard

# Calls of a trunk that are planned for the same twentieth of a second leave together.
TOGETHER_SECONDS = 0.05
# At most so many: a request must leave within LEAVE_SECONDS of its permit, or its contact is given back.
MOST_TOGETHER = 250


@dataclass(frozen=True, slots=True)
class ClaimedCall:
    """A grant that became an attempt: the grant carries the number and the turn, the attempt the contact."""

    batch: Batch
    grant: SlotGrant
    attempt: ReservedAttempt


@dataclass(frozen=True, slots=True)
class Departure:
    """Reserved calls of one trunk that leave together, `wait_seconds` after this was made, or as soon as they may.

    `rate`: the limit that they must pass to leave; None: the trunk has none. `trunk_has_failed`: its last placement
    did. `agent_is_held`: an agent of one of the calls is held on this trunk, and the call probes its destination.
    """

    trunk: Trunk
    requests: tuple[CallRequest, ...]
    wait_seconds: float = 0.0
    rate: RateLimit | None = None
    trunk_has_failed: bool = False
    agent_is_held: bool = False

    @property
    def attempt_ids(self) -> list[AttemptId]:
        return [request.attempt_id for request in self.requests]

    def only(self, attempt_ids: Sequence[AttemptId], wait_seconds: float) -> "Departure | None":
        """Return the departure of only these attempts, after this wait; None: of no attempt."""
        requests = tuple(request for request in self.requests if request.attempt_id in attempt_ids)
        return replace(self, requests=requests, wait_seconds=wait_seconds) if requests else None


def departures_of(claimed: Sequence[ClaimedCall], now: DateTime) -> tuple[Departure, ...]:
    """Put the calls together that leave on the same trunk at about the same time."""
    together: dict[tuple[TrunkId, int], list[ClaimedCall]] = defaultdict(list)
    for call in claimed:
        leaves_in = int(call.grant.wait_seconds / TOGETHER_SECONDS)
        together[call.grant.number.trunk.id, leaves_in].append(call)
    return tuple(
        _departure(calls[first : first + MOST_TOGETHER], now)
        for calls in together.values()
        for first in range(0, len(calls), MOST_TOGETHER)
    )


def _departure(calls: Sequence[ClaimedCall], now: DateTime) -> Departure:
    first = min(calls, key=_wait_seconds).grant
    return Departure(
        first.number.trunk,
        tuple(_call_request(call, now) for call in calls),
        wait_seconds=first.wait_seconds,
        rate=first.route.rate,
        trunk_has_failed=first.number.trunk_has_failed,
        agent_is_held=any(call.grant.number.agent_is_held for call in calls),
    )


def _wait_seconds(call: ClaimedCall) -> float:
    return call.grant.wait_seconds


def _call_request(call: ClaimedCall, now: DateTime) -> CallRequest:
    batch, number, attempt = call.batch, call.grant.number, call.attempt
    return CallRequest(
        attempt_id=attempt.id,
        to_number=attempt.to_number,
        from_number=number.phone_number,
        connection=_object(batch.connection.get(number.trunk.provider)),
        ring_timeout_seconds=batch.ring_timeout_seconds or RING_SECONDS,
        place_by=_earliest(now.add(seconds=PLACE_SECONDS), batch.expires_at, attempt.expires_at),
        ring_by=call.grant.turn.span.ring_by,
        detect_machine=batch.retry.machine,
        contact=ContactCard(attempt.name, attempt.external_id, _object(attempt.variables)),
    )


def _earliest(*moments: DateTime | None) -> DateTime:
    return min(at for at in moments if at is not None)


def _object(value: Any) -> Mapping[str, Any]:
    """Return a JSON object; an empty one in place of anything else, which was written in SQL.

    An adapter that failed on it would be taken for a trunk that fails, and its other calls would be held.
    """
    return value if isinstance(value, dict) else {}
