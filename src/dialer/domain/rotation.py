"""Which outbound number an attempt uses: which numbers of its batch can be used, and in which order they are tried.

    usable_numbers   leaves out numbers that are inactive, whose trunk has no listener or an open circuit breaker, or
                     whose trunk does not lead to the batch's agent; says why the batch is held if none is left
    number_order     puts the others in the order of the batch's strategy, or keeps a contact to its own number

The last part is in `blocked_by`, `after_cursor` and `grant` of store/leases.lua, so that it is exact across workers.
There the first number in this order is taken that has room under its own limits, its daily cap and those of its trunk;
one without room is passed over. For `round_robin` the order is made there too, since only Redis knows which number the
batch used last: from the number after that one, in a circle; the number that is granted becomes the last one.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from random import Random

from pendulum import DateTime

from dialer.domain.gates.codes import Blocked, GateCode
from dialer.domain.hold import CONFIGURATION_AGAIN, LISTENER_AGAIN
from dialer.domain.ids import NumberId, TrunkId
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.domain.trunk import OutboundNumber


@dataclass(frozen=True, slots=True)
class NumberChoice:
    """The numbers that a batch can use now. `blocked`: why there is none."""

    numbers: tuple[OutboundNumber, ...]
    blocked: Blocked | None = None

    @property
    def probes_agent(self) -> bool:
        """Say whether the batch's agent is held on all of them, so that one call finds out whether it works again."""
        return all(number.agent_is_held for number in self.numbers)


def usable_numbers(
    numbers: Sequence[OutboundNumber],
    now: DateTime,
    without_listener: Set[TrunkId] = frozenset(),
    not_permitted: Set[TrunkId] = frozenset(),
) -> NumberChoice:
    """Leave out the numbers that cannot be used now; where none is left, say why, the first gate that passes none.

    `without_listener`: trunks that need a listener and have none; without one the end of a call would not be reported.
    `not_permitted`: trunks that do not let answered calls go to the batch's agent.
    """
    active = [number for number in numbers if number.is_usable]
    permitted = [number for number in active if number.trunk.id not in not_permitted]
    with_agent = [number for number in permitted if not number.agent_is_held or _is_due(number.agent_probe_at, now)]
    with_listener = [number for number in with_agent if number.trunk.id not in without_listener]
    usable = tuple(number for number in with_listener if number.trunk_probe_at is None or number.trunk_probe_at <= now)
    if usable:
        return NumberChoice(usable)
    if not numbers:
        return NumberChoice((), Blocked(GateCode.NO_NUMBER))
    later = now.add(seconds=CONFIGURATION_AGAIN)
    if not active:
        return NumberChoice((), Blocked(GateCode.NO_ACTIVE_NUMBER, again_at=later))
    if not permitted:
        return NumberChoice((), Blocked(GateCode.AGENT_NOT_PERMITTED, None, _trunks(active), later))
    if not with_agent:
        probe_at = min((number.agent_probe_at for number in permitted if number.agent_probe_at), default=None)
        return NumberChoice((), Blocked(GateCode.AGENT_FAILING, probe_at, _trunks(permitted), probe_at or later))
    return NumberChoice((), _trunks_blocked(with_agent, with_listener, now))


def _is_due(at: DateTime | None, now: DateTime) -> bool:
    return at is not None and at <= now


def _trunks_blocked(
    with_agent: Sequence[OutboundNumber], with_listener: Sequence[OutboundNumber], now: DateTime
) -> Blocked:
    """Say what is wrong with the trunks: none has a listener, or those that have one fail."""
    listener_at = now.add(seconds=LISTENER_AGAIN)
    probe_at = min((number.trunk_probe_at for number in with_listener if number.trunk_probe_at), default=None)
    if probe_at is None:
        return Blocked(GateCode.TRUNK_UNHEARD, None, _trunks(with_agent), listener_at)
    again_at = min(probe_at, listener_at) if len(with_listener) < len(with_agent) else probe_at
    return Blocked(GateCode.BREAKER_OPEN, probe_at, _trunks(with_listener), again_at)


def _trunks(numbers: Sequence[OutboundNumber]) -> dict[str, list[str]]:
    return {"trunks": sorted({number.trunk.name for number in numbers})}


def number_order(
    strategy: RotationStrategy, numbers: Sequence[OutboundNumber], own_number: NumberId | None, rng: Random
) -> tuple[int, ...]:
    """Say in which order an attempt tries these numbers, by index. Empty: round robin.

    `own_number`: the number that first called the contact, where its batch keeps to it. It is tried alone while it can
    be used; otherwise the strategy decides.
    """
    for index, number in enumerate(numbers):
        if number.id == own_number:
            return (index,)
    return order(strategy, len(numbers), rng)


def order(strategy: RotationStrategy, count: int, rng: Random) -> tuple[int, ...]:
    """Say in which order the strategy tries `count` numbers, by index. Empty: from the number after the last one used.

    `random` tries a uniform permutation, so the first number with room is uniform over those that have room.
    `sequential` is linear hunting: one number is used up before the next is touched.
    """
    match strategy:
        case RotationStrategy.RANDOM:
            return tuple(rng.sample(range(count), count))
        case RotationStrategy.SEQUENTIAL:
            return tuple(range(count))
        case RotationStrategy.ROUND_ROBIN:
            return ()
