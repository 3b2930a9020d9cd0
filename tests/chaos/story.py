"""What a seed means: who is called and how, who works, who meddles, and what goes wrong where.

Every choice has a source of chance of its own, named after what it decides, so that leaving one fault out changes no
other choice more than it must.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from chaos.stage import Touch

# What may go wrong at which touch, and how often in a thousand of them.
AT_ANY = {"die": 6, "stall": 8, "flush": 2, "old memory": 2, "lose a part": 2}
AT_STATEMENTS = {"cut": 6, "serialization": 4, "deadlock": 3}
AT_COMMITS = {"cut": 12}
AT_REDIS = {"refuse": 20, "answer lost": 20}
AT_NETWORKS = {"late": 80, "raise": 60, "answer lost": 80}
# What others do to the database, at any touch, and take back up to LONGEST steps later.
AT_DATABASE = {"open transaction": 4, "column added": 3, "column renamed": 3}
LONGEST = 12
ELSEWHERE = {"clock", "task lost", "task again", "lies", "operator"}
# A kind that is new comes last: the stories of before stay what they were.
KINDS = [*sorted({*AT_ANY, *AT_STATEMENTS, *AT_COMMITS, *AT_REDIS, *AT_NETWORKS, *ELSEWHERE}), *AT_DATABASE]
STALLS = (0.5, 3, 14, 20, 35, 120)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")


@dataclass(frozen=True)
class Story:
    """A seed and what it is cut down to. `steps`: after so many the power fails. `only`: the faults that are left."""

    seed: int
    steps: int = 60
    contacts: int | None = None
    without: frozenset[str] = frozenset()
    only: frozenset[str] | None = None

    def chance(self, of: object) -> Random:
        """A source of chance for one purpose."""
        return Random(f"{self.seed}/{of}")

    @lru_cache(maxsize=8)  # noqa: B019
    def kinds(self) -> Collection[str]:
        """The kinds of fault of this story: about half of all, so that each meets others and is met alone."""
        chance = self.chance("kinds")
        return {kind for kind in KINDS if chance.random() < 0.5} - self.without

    def network(self, of: int) -> dict[str, Any]:
        """How a network behaves: calls are short, so that much happens in a story."""
        chance = self.chance(f"network {of}")
        some = [name for name in ("lost", "late", "repeated", "reordered") if chance.random() < 0.5]
        placement = ("timeout_before", "timeout_after", "refused", "server_error")
        more = [name for name in placement if chance.random() < 0.4]
        faults = {name: 0.15 for name in some if name not in self.without}
        faults |= {name: 0.08 for name in more if name not in self.without}
        return {
            "seed": self.seed * 10 + of,
            "outcomes": {"answered": 3, "machine": 1, "busy": 2, "no_answer": 2, "failed": 1, "rejected": 1,
                         "invalid_number": 0.3},
            "setup_seconds": {"mean": 0.5, "max": 2},
            "ring_seconds": {"mean": 3, "max": 10},
            "talk_seconds": {"mean": 8, "min": 1, "max": 60},
            "faults": faults | {"late_seconds": chance.choice((20, 120, 7200))},
        }  # fmt: skip

    def batch(self, of: int) -> dict[str, Any]:
        """The settings of a batch."""
        chance = self.chance(f"batch {of}")
        options: dict[str, Any] = {
            "max_concurrent_calls": chance.randint(1, 6),
            "retry_failed": chance.random() < 0.6,
            "max_retry_attempts": chance.randint(0, 3),
            "retry_delays": {"busy": 1, "no_answer": 2, "failed": 1},
            "retry_machine": chance.random() < 0.3,
            "phone_rotation_strategy": chance.choice(("random", "sequential", "round_robin")),
            "sticky_caller_id": chance.random() < 0.3,
            "priority": chance.randint(1, 10),
        }
        if chance.random() < 0.4:
            options["max_calls_per_day"] = chance.randint(3, 15)
        if chance.random() < 0.6:
            options["timezone"] = chance.choice(ZONES)
        if chance.random() < 0.4:
            # Stories begin at 08:00 UTC: some windows end a little later, some begin a little later.
            options |= chance.choice(
                ({"timezone": "UTC", "start_time": "07:00", "end_time": "08:02"},
                 {"timezone": "UTC", "start_time": "08:01", "end_time": "17:00"},
                 {"timezone": "Asia/Kolkata", "start_time": "22:00", "end_time": "13:33"},
                 {"timezone": "America/New_York", "end_time": "03:01", "respect_contact_timezone": True})
            )  # fmt: skip
        return options

    def decide(self, touch: Touch) -> str | None:
        """Say what befalls this touch."""
        if self.only is not None and touch.name not in self.only:
            return None
        chance = self.chance(touch.name)
        fate = chance.random() * 1000
        for kind, often in faults_at(touch).items():
            fate -= often
            if fate < 0:
                return self._worded(kind, chance)
        return None

    def _worded(self, kind: str, chance: Random) -> str | None:
        if kind not in self.kinds():
            return None
        return f"stall {chance.choice(STALLS)}" if kind == "stall" else kind


def faults_at(touch: Touch) -> dict[str, int]:
    """Say what can befall a touch, and how often in a thousand."""
    if touch.what == "redis":
        return AT_ANY | AT_REDIS | AT_DATABASE
    if touch.what in ("place", "look up", "hang up"):
        return AT_ANY | AT_NETWORKS | AT_DATABASE
    if touch.what in ("commit", "committed"):
        return AT_ANY | AT_COMMITS | AT_DATABASE
    return AT_ANY | AT_STATEMENTS | AT_DATABASE
