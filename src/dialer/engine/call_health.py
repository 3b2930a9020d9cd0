"""Whether calls reach people: what the ends of calls say about the health of their trunks.

In: attempts that have moved on, after their commit. Out: failures counted, or forgotten, in the circuit breakers. A
provider may be dead behind a switch that takes every placement; its calls then fail before they ring.
"""

from collections import defaultdict
from collections.abc import Sequence

import structlog
from pendulum import DateTime

from dialer.domain.ids import TrunkId
from dialer.engine.context import EngineContext
from dialer.engine.moves import Move
from dialer.errors import Contended
from dialer.store import trunk_breaker
from dialer.store.database import wait_shortly

log = structlog.get_logger()


def note_calls(context: EngineContext, moves: Sequence[Move], now: DateTime) -> None:
    """Count the calls in a row that failed on each trunk before they rang. Nothing is written of trunks that work.

    Should this be lost in a crash, a row is shorter, and the next failures open the breaker.
    """
    by_trunk: dict[TrunkId, list[Move]] = defaultdict(list)
    for move in moves:
        by_trunk[move.attempt.trunk_id].append(move)
    working = {trunk_id for trunk_id, some in by_trunk.items() if any(one.course.shows_network_works for one in some)}
    healed = [of for of in working if any(move.attempt.trunk_has_failed for move in by_trunk[of])]
    failed = {of: causes for of, some in by_trunk.items() if of not in working and (causes := _causes(some))}
    try:
        if healed:
            _forget(context, healed)
        for trunk_id, causes in failed.items():
            _count(context, trunk_id, causes, now)
    except Contended as error:
        # Someone is changing a trunk, which closes its breaker. The attempts are settled all the same.
        log.warning("health of trunks not noted", reason=str(error))


def _causes(moves: Sequence[Move]) -> list[str]:
    return [move.course.cause or "failed" for move in moves if move.course.is_network_failure]


def _forget(context: EngineContext, trunk_ids: Sequence[TrunkId]) -> None:
    with context.db.begin() as connection:
        wait_shortly(connection)
        healed = trunk_breaker.calls_work(connection, trunk_ids)
    for trunk_id in healed:
        log.info("trunk works again", trunk_id=str(trunk_id))


def _count(context: EngineContext, trunk_id: TrunkId, causes: Sequence[str], now: DateTime) -> None:
    """One transaction a trunk, so that two workers with the same trunks cannot wait for each other."""
    with context.db.begin() as connection:
        wait_shortly(connection)
        pause = trunk_breaker.failed(connection, trunk_id, len(causes), causes[-1], now, of_calls=True)
    if pause is not None:
        log.warning("calls fail before they ring", trunk_id=str(trunk_id), reason=causes[-1], pause_seconds=pause)
