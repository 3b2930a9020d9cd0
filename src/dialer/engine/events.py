"""Events: what a provider reports goes into the inbox, once, and is answered only after the commit. Decides nothing."""

from collections.abc import Sequence

from dialer.domain.events import CallEvent
from dialer.domain.ids import TrunkId
from dialer.engine.apart import apart
from dialer.store import inbox, set_aside
from dialer.store.database import Database


def receive(db: Database, trunk_id: TrunkId, events: Sequence[CallEvent]) -> int:
    """Store reports; those that the trunk has sent before are passed over. Return how many were new.

    A report that cannot be stored, as with a NUL in its text, is set aside, so that it does not come again and again.
    """

    def store(some: Sequence[CallEvent]) -> int:
        with db.begin() as connection:
            return inbox.receive(connection, trunk_id, some)

    def pass_over(event: CallEvent, error: Exception) -> None:
        with db.begin() as connection:
            set_aside.note(connection, "report", f"{trunk_id} {event.key}", error, event.attempt_id)

    return sum(apart(events, store, pass_over))
