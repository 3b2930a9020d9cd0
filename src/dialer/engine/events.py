"""Events: what a provider reports goes into the inbox, once, and is answered only after the commit. Decides nothing."""

from collections.abc import Sequence

from dialer.domain.events import CallEvent
from dialer.domain.ids import TrunkId
from dialer.store import inbox
from dialer.store.database import Database


def receive(db: Database, trunk_id: TrunkId, events: Sequence[CallEvent]) -> int:
    """Store reports; those that the trunk has sent before are passed over. Return how many were new."""
    with db.begin() as connection:
        return inbox.receive(connection, trunk_id, events)
