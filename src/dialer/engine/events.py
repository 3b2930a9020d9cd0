"""Events: what a provider reports is stored in the inbox, once, and acknowledged only after the commit.

Decides nothing about calls: settle does.
"""

from collections.abc import Sequence

from dialer.domain.call import CallEvent
from dialer.domain.ids import TrunkId
from dialer.engine import quarantine
from dialer.engine.bisect import run_bisecting
from dialer.errors import Contended, ReportsRefused
from dialer.store import attempts, inbox
from dialer.store.database import Database


def receive_shared(db: Database, trunk_ids: Sequence[TrunkId], events: Sequence[CallEvent]) -> int:
    """Store reports from a connection that several trunks share, each under the trunk of its attempt.

    Such a connection also reports calls of other trunks: they are passed over. Otherwise as `receive`.
    """
    with db.begin() as connection:
        trunk_of = attempts.trunks_of(connection, list({event.attempt_id for event in events}))
    stored = 0
    for trunk_id in trunk_ids:
        own = [event for event in events if trunk_of.get(event.attempt_id) == trunk_id]
        stored += receive(db, trunk_id, own) if own else 0
    return stored


def receive(db: Database, trunk_id: TrunkId, events: Sequence[CallEvent]) -> int:
    """Store reports; those that the trunk has sent before are passed over. Return how many were new.

    A report that cannot be stored does not stop the others. ReportsRefused is raised then, so that its network sends it
    again; until only its own data can be to blame: then it is kept in quarantine and counts as received.
    """
    refused: list[Exception] = []

    def store(part: Sequence[CallEvent]) -> int:
        with db.begin() as connection:
            return inbox.receive(connection, trunk_id, part)

    def on_failure(event: CallEvent, error: Exception) -> None:
        if not quarantine.keep_unstorable(db, trunk_id, event, error):
            refused.append(error)

    def on_locked(_: CallEvent) -> None:
        refused.append(Contended("another transaction is in the way"))

    stored = sum(run_bisecting([inbox.cleaned(event) for event in events], store, on_failure, on_locked))
    if refused:
        raise ReportsRefused(
            f"{len(refused)} of {len(events)} reports cannot be stored yet, send them again: {refused[0]!r}"
        )
    return stored
