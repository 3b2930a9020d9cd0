"""What every step needs: the ledger, the leases, and the ways to the networks."""

from collections.abc import Callable
from dataclasses import dataclass

from pendulum import DateTime

from dialer.providers.pool import ProviderPool
from dialer.store.database import Database
from dialer.store.leases import Leases

# The queues of tasks: what the steps ask of each other, and what beat asks of them.
QUEUES = ("dialer", "dialer.beat")


@dataclass(frozen=True, slots=True)
class EngineContext:
    """`clock`: that of this machine, by which requests leave it. All else goes by the ledger's."""

    db: Database
    leases: Leases
    providers: ProviderPool
    clock: Callable[[], DateTime]
