"""What every step needs: the ledger, the leases, and the ways to the networks."""

from dataclasses import dataclass

from dialer.providers.carriers import Carriers
from dialer.store.database import Database
from dialer.store.leases import Leases


@dataclass(frozen=True, slots=True)
class Parts:
    db: Database
    leases: Leases
    carriers: Carriers
