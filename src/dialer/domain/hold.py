"""What holds a whole batch back, and how soon dispatch looks again where the event that ends a hold may be lost."""

from dataclasses import dataclass

from pendulum import DateTime

# In seconds. An operator's change wakes the batch; these only replace an event that got lost.
CONFIGURATION_AGAIN = 60
LISTENER_AGAIN = 5
NEIGHBOUR_AGAIN = 2
LEASES_AGAIN = 1
NUMBER_DAY_AGAIN = 600


@dataclass(frozen=True, slots=True)
class Hold:
    """Why no contact of a batch may be called, and until when; `until` None: until an event.

    `reason` is stored with the batch and shown to operators. `is_final`: the reason never ends, so the batch fails.
    """

    reason: str
    until: DateTime | None = None
    is_final: bool = False
