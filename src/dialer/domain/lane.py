"""A lane: the restrictions that a contact has beyond those of its batch. Contacts of one lane are interchangeable.

A lane is no share of a trunk and no queue of its own; how batches share a trunk is in `fairness`. It is stored as text
with the contact, so that an index can lead with it: the time zones whose windows must be open, comma-separated, then
after a bar the outbound number that must be used. Empty: no restriction. The text is read and written at the edges
(store, service); inside it is a `Lane`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from pendulum import DateTime

from dialer.domain.ids import NumberId
from dialer.domain.window import CallingWindow, next_open_all


@dataclass(frozen=True, slots=True)
class Lane:
    """`zones`: IANA time zones in which the window must be open. `number_id`: the only outbound number to use."""

    zones: tuple[str, ...] = ()
    number_id: NumberId | None = None

    @classmethod
    def parse(cls, text: str) -> "Lane":
        zones, _, number = text.partition("|")
        return cls(tuple(zones.split(",")) if zones else (), NumberId(UUID(number)) if number else None)

    def __str__(self) -> str:
        zones = ",".join(self.zones)
        return zones if self.number_id is None else f"{zones}|{self.number_id}"

    def windows(self, window: CallingWindow) -> Sequence[CallingWindow]:
        """Read the batch's window in each time zone of the lane; the batch's own where the lane has none."""
        return [replace(window, timezone=zone) for zone in self.zones] or [window]

    def next_open(self, window: CallingWindow, at: DateTime) -> DateTime | None:
        """Find the first instant from `at` on at which the window is open in every zone of the lane; None: never."""
        return next_open_all(self.windows(window), at)


NO_LANE = Lane()


def zones_lane(zones: Sequence[str]) -> str:
    """Write the lane of a contact that may be in any of these time zones."""
    return str(Lane(tuple(zones)))
