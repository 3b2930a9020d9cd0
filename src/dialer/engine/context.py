"""What every step needs: the ledger, the leases and the providers."""

from collections.abc import Callable
from dataclasses import dataclass

from pendulum import DateTime

from dialer.providers.pool import ProviderPool
from dialer.store.database import Database
from dialer.store.leases import Leases


@dataclass(frozen=True, slots=True)
class EngineContext:
    """`clock`: the clock of this machine, by which requests leave it. Everything else uses the ledger's clock."""

    db: Database
    leases: Leases
    providers: ProviderPool
    clock: Callable[[], DateTime]
