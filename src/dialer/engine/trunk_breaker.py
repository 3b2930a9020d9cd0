"""The circuit breaker of a trunk: placements or calls that fail in a row open it, one that works closes it.

    note_placements   after placing: what the network said to the requests
    note_calls        after settling: how the calls ended. A provider may be down behind a switch that takes every
                      placement; its calls then fail before they ring. Or people answer, and no agent joins

How many failures open the breaker, and for how long, is in `domain.breaker.next_pause`; a trunk whose breaker is open
is left out in `domain.rotation`. Should a crash lose a note, the row of failures is shorter, and the next failures open
the breaker.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import structlog
from pendulum import DateTime

from dialer.domain.breaker import next_pause
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import CauseClass
from dialer.engine.context import EngineContext
from dialer.engine.moves import Move
from dialer.errors import Contended
from dialer.providers.base import Placement, Refused, Unclear
from dialer.store import trunk_breaker
from dialer.store.database import wait_shortly

log = structlog.get_logger()


def note_placements(
    context: EngineContext,
    trunk_id: TrunkId,
    answers: Mapping[AttemptId, Placement],
    now: DateTime,
    *,
    has_failed_before: bool,
) -> None:
    """Count the placements in a row that failed. One that the network took, or refused for a reason of the call's own,
    ends the row. Nothing is written of a trunk that works and has worked before.
    """
    causes = [_trunk_failure(answer) for answer in answers.values()]
    failures = [cause for cause in causes if cause]
    if len(failures) < len(causes):
        if has_failed_before:
            _note_placements_work(context, trunk_id)
    elif failures:
        pause_seconds = _add_failures(context, trunk_id, failures, now, of_calls=False)
        if pause_seconds is not None:
            log.warning("trunk is failing", trunk_id=str(trunk_id), reason=failures[-1], pause_seconds=pause_seconds)


def note_calls(context: EngineContext, moves: Sequence[Move], now: DateTime) -> None:
    """Count the calls in a row that failed on each trunk before they rang. Nothing is written of trunks that work."""
    by_trunk: dict[TrunkId, list[Move]] = defaultdict(list)
    for move in moves:
        by_trunk[move.attempt.trunk_id].append(move)
    try:
        _note_calls_work(context, by_trunk)
        for trunk_id, of_trunk in by_trunk.items():
            _note_failed_calls(context, trunk_id, of_trunk, now)
    except Contended as error:
        # Someone is changing a trunk, which closes its breaker. The attempts are settled all the same.
        log.warning("health of trunks not noted", reason=str(error))


def _trunk_failure(answer: Placement) -> str | None:
    """Say why a placement failed, where that is the trunk's fault and not the call's or ours."""
    match answer:
        case Unclear(reason):
            return reason
        case Refused(cause, CauseClass.INFRASTRUCTURE):
            return cause
        case _:
            return None


def _note_failed_calls(context: EngineContext, trunk_id: TrunkId, moves: Sequence[Move], now: DateTime) -> None:
    """Count calls that never rang, unless another one did; and those without an agent, unless another one had one."""
    calls = [move.progress for move in moves]
    causes = [call.cause or "failed" for call in calls if call.is_network_failure]
    if any(call.shows_network_works for call in calls):
        causes = []
    without_agent = [str(call.outcome) for call in calls if call.is_without_agent]
    if any(call.shows_agent_joined for call in calls):
        without_agent = []
    if not causes and not without_agent:
        return
    causes += without_agent
    pause_seconds = _add_failures(context, trunk_id, causes, now, of_calls=True, of_agents=bool(without_agent))
    if pause_seconds is not None:
        log.warning("calls fail", trunk_id=str(trunk_id), reason=causes[-1], pause_seconds=pause_seconds)


def _add_failures(
    context: EngineContext,
    trunk_id: TrunkId,
    causes: Sequence[str],
    now: DateTime,
    *,
    of_calls: bool,
    of_agents: bool = False,
) -> float | None:
    """Add failures to those in a row, and open the breaker if they are enough; return for how long it is open then.

    One transaction for each trunk, so that two workers with the same trunks cannot wait for each other.
    """
    with context.db.begin() as connection:
        wait_shortly(connection)
        failures = trunk_breaker.add_failures(
            connection, trunk_id, len(causes), causes[-1], now, of_calls=of_calls, of_agents=of_agents
        )
        pause_seconds = next_pause(failures.in_a_row, failures.pause_seconds, is_probe=failures.is_probe)
        if pause_seconds is not None:
            trunk_breaker.open_breaker(connection, trunk_id, now, pause_seconds)
    return pause_seconds


def _note_placements_work(context: EngineContext, trunk_id: TrunkId) -> None:
    with context.db.begin() as connection:
        wait_shortly(connection)
        if trunk_breaker.worked(connection, trunk_id):
            log.info("trunk works again", trunk_id=str(trunk_id))


def _note_calls_work(context: EngineContext, by_trunk: Mapping[TrunkId, Sequence[Move]]) -> None:
    failed = {
        trunk_id: [move.progress for move in moves]
        for trunk_id, moves in by_trunk.items()
        if any(move.attempt.trunk_has_failed for move in moves)
    }
    working = [trunk_id for trunk_id, calls in failed.items() if any(call.shows_network_works for call in calls)]
    if not working:
        return
    with_agents = [trunk_id for trunk_id, calls in failed.items() if any(call.shows_agent_joined for call in calls)]
    with context.db.begin() as connection:
        wait_shortly(connection)
        healed = trunk_breaker.calls_work(connection, working, with_agents)
    for trunk_id in healed:
        log.info("trunk works again", trunk_id=str(trunk_id))
