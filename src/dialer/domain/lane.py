"""A lane: what must hold for a contact beyond what holds for its batch. Contacts of one lane are interchangeable.

Written as text, so that an index can lead with it: the zones whose windows must be open, comma-separated, then after
a bar the outbound number that must be used. Empty: nothing beyond the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from pendulum import DateTime

from dialer.domain.ids import NumberId
from dialer.domain.window import CallingWindow, next_open_all


@dataclass(frozen=True, slots=True)
class Lane:
    zones: tuple[str, ...] = ()
    number_id: NumberId | None = None

    @classmethod
    def parse(cls, text: str) -> "Lane":
        zones, _, number = text.partition("|")
        return cls(tuple(zones.split(",")) if zones else (), NumberId(UUID(number)) if number else None)

    def windows(self, window: CallingWindow) -> Sequence[CallingWindow]:
        """Read the batch's window in each zone that counts: the contact's own, where it has some, else the batch's."""
        return [replace(window, timezone=zone) for zone in self.zones] or [window]


def zones_lane(zones: Sequence[str]) -> str:
    """Write the lane of a contact that may be in any of these zones."""
    return ",".join(zones)


def next_open(window: CallingWindow, lane: str, at: DateTime) -> DateTime | None:
    """Find the least instant from `at` on at which the window is open in every zone of the lane; None: never."""
    return next_open_all(Lane.parse(lane).windows(window), at)
