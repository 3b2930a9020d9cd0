"""Batches of which the forecast is compared with the true end: the engine calls them on a simulated network."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp
from random import Random
from typing import Any

from dialer.domain.forecast.assumptions import PRIOR_CALLS, PRIOR_DOUBT, PRIOR_SHARES, PRIOR_TALK_SECONDS
from dialer.domain.forecast.calibration import PastForecast
from dialer.domain.forecast.chance import dirichlet
from dialer.domain.ids import BatchId, NumberId, TrunkId, uuid7
from dialer.domain.outcomes import Outcome
from dialer.providers.simulator import NetworkProfile, SimulatedNetwork
from dialer.service import forecasts
from dialer.service.forecasts import ForecastRequest, ForecastResult
from dialer.store import configuration
from support.world import World, made_up_phones


@dataclass(frozen=True)
class Truth:
    """How the calls of one batch really go."""

    shares: dict[Outcome, float]
    talk_seconds: float
    ring_seconds: float = 10.0

    def given(self) -> dict[str, Any]:
        """What an operator would tell who knew all of it."""
        return {
            "outcomes": dict(self.shares),
            "mean_talk_seconds": self.talk_seconds,
            "mean_ring_seconds": self.ring_seconds,
        }

    def profile(self, seed: int) -> dict[str, Any]:
        durations = {"min": 1.0, "max": 3_600.0}
        return {
            "outcomes": {outcome.value: share for outcome, share in self.shares.items()},
            "talk_seconds": durations | {"mean": self.talk_seconds},
            "ring_seconds": {"min": 5.0, "max": 40.0, "mean": self.ring_seconds},
            "seed": seed,
        }


def draw_truth(rng: Random, likeness: float = PRIOR_CALLS, doubt: float = PRIOR_DOUBT) -> Truth:
    """Draw how a batch goes. `likeness`: how alike batches are, as the number of calls that the prior counts as."""
    shares = dirichlet(rng, [likeness * share for share in PRIOR_SHARES.values()])
    return Truth(dict(zip(PRIOR_SHARES, shares, strict=True)), PRIOR_TALK_SECONDS * exp(doubt * rng.gauss(0.0, 1.0)))


def draw_settings(rng: Random, contacts: int) -> dict[str, Any]:
    """Draw the settings of a batch: slots, retries, hours and cap."""
    settings: dict[str, Any] = {"max_concurrent_calls": rng.randint(2, 8)}
    if rng.random() < 0.7:
        settings |= {"retry_failed": True, "max_retry_attempts": rng.randint(1, 3)}
    if rng.random() < 0.4:
        settings |= {"start_time": "07:00", "end_time": rng.choice(["08:20", "08:40", "09:00", "10:00"])}
    if rng.random() < 0.25:
        settings |= {"max_calls_per_day": max(2, round(contacts * rng.uniform(0.3, 0.9)))}
    return settings


def add_batch(world: World, number: int, truth: Truth, contacts: int, **settings: Any) -> BatchId:
    """Add a batch with a trunk of its own, on which calls go as `truth` says."""
    profile = truth.profile(number)
    workspace_id, rng = world.installed.workspace_id, world.rng
    with world.db.begin() as connection:
        trunk_id = configuration.ensure_trunk(
            connection, TrunkId(uuid7(world.clock.now, rng)), workspace_id, f"trunk {number}", "simulator", profile
        )
        number_id = configuration.ensure_number(
            connection,
            NumberId(uuid7(world.clock.now, rng)),
            workspace_id,
            f"+1303555{number:04}",
            trunk_id,
            world.installed.agent_id,
        )
    world.networks[trunk_id] = SimulatedNetwork(NetworkProfile.parse(profile))
    phones = made_up_phones(contacts, first=number * 100)
    return world.batch(phones, phone_number_ids=[number_id], name=f"trial {number}", **settings)


def forecast(world: World, batch_id: BatchId, **request: Any) -> ForecastResult:
    """Make and keep a forecast."""
    asked = ForecastRequest.read(request, world.clock.now)
    return forecasts.make(world.db, world.installed.workspace_id, batch_id, asked, world.clock.now, world.rng)


def ended(world: World, made: Mapping[BatchId, ForecastResult]) -> list[PastForecast]:
    """Run the batches to their ends, if they have not ended; return their forecasts beside them."""
    world.run(lambda: world.is_over(*made), grain=2, limit=100_000)
    ends = dict(world.rows("SELECT id, completed_at FROM batches WHERE id = ANY(:ids)", ids=list(made)))
    of_all = [(result.forecast.ends, ends[batch_id]) for batch_id, result in made.items()]
    return [PastForecast(ends.p10, ends.p50, ends.p90, ended_at) for ends, ended_at in of_all]
