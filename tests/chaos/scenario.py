"""What a seed decides: contacts, batch settings, network behaviour, and which fault is injected at which fault point.

Each decision has its own random generator, seeded with the scenario's seed and the decision's name. So leaving out one
fault changes the other decisions as little as possible.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from chaos.turn_scheduler import FaultPoint

# The faults that can be injected at each kind of fault point, and how often in 1,000 points.
AT_ANY = {"die": 6, "stall": 8, "flush": 2, "stale snapshot": 2, "lost keys": 2}
AT_STATEMENTS = {"cut": 6, "serialization": 4, "deadlock": 3}
AT_COMMITS = {"cut": 12}
AT_REDIS = {"refuse": 20, "answer lost": 20}
AT_NETWORKS = {"late": 80, "raise": 60, "answer lost": 80}
# Injected at any point, and reverted up to MAX_DATABASE_FAULT_STEPS steps later.
DATABASE_FAULTS = {"open transaction": 4, "column added": 3, "column renamed": 3}
MAX_DATABASE_FAULT_STEPS = 12
# The order is part of what a seed means: append new kinds at the end, so that existing scenarios stay the same.
FAULT_KINDS = (
    "answer lost",  # the request is executed, and its response does not arrive
    "clock",  # the clocks of processes differ
    "cut",  # the Postgres session is terminated
    "deadlock",  # Postgres reports a deadlock
    "die",  # the process is killed
    "flush",  # Redis loses all keys
    "late",  # a placement arrives after its timeout; in a network's profile: its call events arrive late
    "false events",  # call events for unknown attempts, or for attempts on another trunk
    "lost keys",  # Redis loses some keys, as after a failover that lost writes
    "stale snapshot",  # Redis restarts with an old snapshot
    "operator",  # an operator pauses, resumes, cancels and edits
    "raise",  # the provider raises an unexpected exception
    "refuse",  # Redis refuses the connection
    "serialization",  # Postgres reports a serialization failure
    "stall",  # the process stops for some seconds
    "task repeated",  # the queue delivers a task twice
    "task lost",  # the queue loses a task
    *DATABASE_FAULTS,
)
STALL_SECONDS = (0.5, 3, 14, 20, 35, 120)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")


@dataclass(frozen=True)
class Scenario:
    """A seed, and how the scenario is reduced.

    `steps`: all processes are killed after so many. `without`: fault kinds that are not injected. `only`: the names of
    the fault points where faults are injected; None: at all of them.
    """

    seed: int
    steps: int = 60
    contacts: int | None = None
    without: frozenset[str] = frozenset()
    only: frozenset[str] | None = None

    def rng_for(self, purpose: object) -> Random:
        """Return the random generator of one decision."""
        return Random(f"{self.seed}/{purpose}")

    @lru_cache(maxsize=8)  # noqa: B019
    def fault_kinds(self) -> Collection[str]:
        """Choose about half of all fault kinds, so that each occurs alone and together with others."""
        rng = self.rng_for("kinds")
        return {kind for kind in FAULT_KINDS if rng.random() < 0.5} - self.without

    def network_profile(self, index: int) -> dict[str, Any]:
        """Choose the profile of a simulated network. Its calls are short, so that a scenario contains many."""
        rng = self.rng_for(f"network {index}")
        event_faults = [name for name in ("lost", "late", "repeated", "reordered") if rng.random() < 0.5]
        placement = ("timeout_before", "timeout_after", "refused", "server_error")
        placement_faults = [name for name in placement if rng.random() < 0.4]
        faults = {name: 0.15 for name in event_faults if name not in self.without}
        faults |= {name: 0.08 for name in placement_faults if name not in self.without}
        return {
            "seed": self.seed * 10 + index,
            "outcomes": {"answered": 3, "machine": 1, "busy": 2, "no_answer": 2, "failed": 1, "rejected": 1,
                         "invalid_number": 0.3},
            "setup_seconds": {"mean": 0.5, "max": 2},
            "ring_seconds": {"mean": 3, "max": 10},
            "talk_seconds": {"mean": 8, "min": 1, "max": 60},
            "faults": faults | {"late_seconds": rng.choice((20, 120, 7200))},
        }  # fmt: skip

    def batch_options(self, index: int) -> dict[str, Any]:
        """Choose the settings of a batch."""
        rng = self.rng_for(f"batch {index}")
        options: dict[str, Any] = {
            "max_concurrent_calls": rng.randint(1, 6),
            "retry_failed": rng.random() < 0.6,
            "max_retry_attempts": rng.randint(0, 3),
            "retry_delays": {"busy": 1, "no_answer": 2, "failed": 1},
            "retry_machine": rng.random() < 0.3,
            "phone_rotation_strategy": rng.choice(("random", "sequential", "round_robin")),
            "sticky_caller_id": rng.random() < 0.3,
            "priority": rng.randint(1, 10),
        }
        if rng.random() < 0.4:
            options["max_calls_per_day"] = rng.randint(3, 15)
        if rng.random() < 0.6:
            options["timezone"] = rng.choice(ZONES)
        if rng.random() < 0.4:
            # A scenario begins at 08:00 UTC: some windows close shortly after that, some open shortly after.
            options |= rng.choice(
                ({"timezone": "UTC", "start_time": "07:00", "end_time": "08:02"},
                 {"timezone": "UTC", "start_time": "08:01", "end_time": "17:00"},
                 {"timezone": "Asia/Kolkata", "start_time": "22:00", "end_time": "13:33"},
                 {"timezone": "America/New_York", "end_time": "03:01", "respect_contact_timezone": True})
            )  # fmt: skip
        return options

    def choose_fault(self, point: FaultPoint) -> str | None:
        """Return the fault to inject at this point, or None."""
        if self.only is not None and point.name not in self.only:
            return None
        rng = self.rng_for(point.name)
        draw = rng.random() * 1000
        for kind, frequency in faults_at(point).items():
            draw -= frequency
            if draw < 0:
                return self._fault(kind, rng)
        return None

    def _fault(self, kind: str, rng: Random) -> str | None:
        if kind not in self.fault_kinds():
            return None
        return f"stall {rng.choice(STALL_SECONDS)}" if kind == "stall" else kind


def faults_at(point: FaultPoint) -> dict[str, int]:
    """Return the fault kinds that can be injected at this point, and how often in 1,000 points."""
    if point.what == "redis":
        return AT_ANY | AT_REDIS | DATABASE_FAULTS
    if point.what in ("place", "look up", "hang up"):
        return AT_ANY | AT_NETWORKS | DATABASE_FAULTS
    if point.what in ("commit", "committed"):
        return AT_ANY | AT_COMMITS | DATABASE_FAULTS
    return AT_ANY | AT_STATEMENTS | DATABASE_FAULTS
