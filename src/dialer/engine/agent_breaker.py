"""The circuit breaker of an agent on a trunk: held while answered calls would have no destination there.

    note_placements   a network refuses a call because the agent's destination is missing; a later probe finds it again
    note_talks        a switch drops answered calls at once, several in a row
    one_probe_each    of the calls that could probe a held agent, one is let through

A number whose trunk holds the batch's agent is left out in `domain.rotation`.
"""

from collections.abc import Mapping, Sequence

import structlog
from pendulum import DateTime

from dialer.domain.breaker import AGENT_PAUSE_SECONDS, drops_at_the_end
from dialer.domain.ids import AgentId, AttemptId, BatchId, TrunkId
from dialer.domain.outcomes import CauseClass
from dialer.domain.slots import SlotGrant
from dialer.engine.context import EngineContext
from dialer.providers import registry
from dialer.providers.base import Placed, Placement, Refused
from dialer.store import agent_health
from dialer.store.agent_health import OnTrunk
from dialer.store.database import Connection, wait_shortly

log = structlog.get_logger()


def one_probe_each(
    connection: Connection, granted: Sequence[SlotGrant], agents: Mapping[BatchId, AgentId]
) -> list[SlotGrant]:
    """Keep one grant for each held agent on each trunk, however many batches, numbers and workers it has.

    `agents`: of the batches. What was kept and finds a contact must be noted with `note_probes`.
    """
    probes = {_on_trunk(grant, agents) for grant in granted if grant.number.agent_is_held}
    due = agent_health.lock_due(connection, probes) if probes else set()
    kept = []
    for grant in granted:
        if grant.number.agent_is_held:
            if _on_trunk(grant, agents) not in due:
                continue
            due.remove(_on_trunk(grant, agents))
        kept.append(grant)
    return kept


def note_probes(
    connection: Connection, claimed: Sequence[SlotGrant], agents: Mapping[BatchId, AgentId], now: DateTime
) -> None:
    """Let no other call probe the agents of these grants until the answer has come, or should have."""
    if probes := {_on_trunk(grant, agents) for grant in claimed if grant.number.agent_is_held}:
        agent_health.put_off(connection, probes, now.add(seconds=AGENT_PAUSE_SECONDS))


def _on_trunk(grant: SlotGrant, agents: Mapping[BatchId, AgentId]) -> OnTrunk:
    return agents[grant.batch_id], grant.number.trunk.id


def note_placements(
    context: EngineContext,
    trunk_id: TrunkId,
    answers: Mapping[AttemptId, Placement],
    now: DateTime,
    *,
    agent_is_held: bool,
) -> None:
    """Hold the agents whose destination is missing on the trunk; release those whose destination is there again."""
    missing = {
        attempt_id: answer.cause
        for attempt_id, answer in answers.items()
        if isinstance(answer, Refused) and answer.cause_class is CauseClass.AGENT
    }
    placed = [attempt_id for attempt_id, answer in answers.items() if isinstance(answer, Placed)]
    released = placed if agent_is_held else []
    if not missing and not released:
        return
    with context.db.begin() as connection:
        wait_shortly(connection)
        agent_health.worked(connection, released)
        for reason in sorted(set(missing.values())):
            refused = [attempt_id for attempt_id, cause in missing.items() if cause == reason]
            agent_health.refused(connection, refused, reason, now.add(seconds=AGENT_PAUSE_SECONDS))
            log.warning("agent is failing", trunk_id=str(trunk_id), reason=reason, calls=len(refused))


def note_talks(connection: Connection, talks: Mapping[OnTrunk, Sequence[float]], now: DateTime) -> None:
    """Count the people in a row who answered and were dropped at once by a switch: their destination is missing.

    `talks`: the length of the answered calls of each agent on each trunk, in seconds, oldest first.
    """
    if not talks:
        return
    drops = {on_trunk: drops_at_the_end(seconds) for on_trunk, seconds in talks.items()}
    agent_health.talked(connection, [on_trunk for on_trunk, seconds in talks.items() if drops[on_trunk] < len(seconds)])
    if not any(drops.values()):
        return
    providers = agent_health.providers(connection, {trunk_id for _, trunk_id in talks})
    on_switches = {
        (agent_id, trunk_id): count
        for (agent_id, trunk_id), count in drops.items()
        if count and registry.is_switch(providers[trunk_id])
    }
    for agent_id, trunk_id in agent_health.dropped(connection, on_switches, now):
        log.warning("agent is failing", agent_id=str(agent_id), trunk_id=str(trunk_id), reason=agent_health.DROPPED)
