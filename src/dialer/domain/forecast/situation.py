"""What a forecast starts from: the batch, its contacts in cohorts, and the limits that its calls fall under."""

from collections.abc import Sequence
from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.batch import Batch
from dialer.domain.pacing import SPREAD


@dataclass(frozen=True, slots=True)
class Cohort:
    """Contacts that are alike to dispatch. `zones`: of their lane. `attempts`, `refusals`: those they have had.

    `due_at`: when they wait for a retry; None: they may be called now. `is_dialing`: their last attempt is in progress.
    `is_called_back`: their next call is a callback, which the retry rules do not limit.
    """

    count: int
    zones: tuple[str, ...] = ()
    priority: int = 5
    attempts: int = 0
    refusals: int = 0
    expires_at: DateTime | None = None
    due_at: DateTime | None = None
    is_dialing: bool = False
    is_called_back: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What the calls of one batch share. None: no limit.

    `trunk_slots`, `calls_per_second`: the share of this batch in what its numbers and trunks allow.
    `calls_today`: attempts that count to the daily cap already. `number_day`: what its numbers allow on a UTC day, and
    `number_day_used`: how much of it is used.
    """

    batch_slots: int
    trunk_slots: int | None = None
    calls_per_second: float | None = None
    calls_per_day: int | None = None
    calls_today: int = 0
    number_day: int | None = None
    number_day_used: int = 0

    @property
    def slots(self) -> int:
        """How many calls may be in progress at once."""
        return self.batch_slots if self.trunk_slots is None else min(self.batch_slots, self.trunk_slots)

    @property
    def interval_seconds(self) -> float:
        """How far apart calls start."""
        return SPREAD / self.calls_per_second if self.calls_per_second else 0.0


@dataclass(frozen=True, slots=True)
class Situation:
    """A batch when its forecast is made. `starts_at`: now, or when it is scheduled. `total`: all its contacts.

    `suppressed`: contacts that are skipped because their numbers are suppressed; they are in no cohort.
    `other_batches`: active batches that share its trunks.
    """

    batch: Batch
    starts_at: DateTime
    cohorts: Sequence[Cohort]
    limits: Limits
    suppressed: int = 0
    other_batches: int = 0
    total: int = 0

    @property
    def contacts(self) -> int:
        """How many contacts are not final and may be called."""
        return sum(cohort.count for cohort in self.cohorts)
