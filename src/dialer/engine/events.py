"""Events: what a provider reports goes into the inbox, once, and is answered only after the commit. Decides nothing."""

from collections.abc import Sequence

from dialer.domain.call import CallEvent
from dialer.domain.ids import TrunkId
from dialer.engine.bisect import apart
from dialer.errors import Contended, Unavailable
from dialer.store import attempts, inbox, quarantine
from dialer.store.database import Database


def receive_shared(db: Database, trunk_ids: Sequence[TrunkId], events: Sequence[CallEvent]) -> int:
    """Store what came in on a connection that several trunks share, each report as its attempt's trunk's.

    Such a connection also tells of calls that are none of these trunks': they are passed over. Otherwise as `receive`.
    """
    with db.begin() as connection:
        trunk_of = attempts.trunks_of(connection, list({event.attempt_id for event in events}))
    return sum(
        receive(db, of, own)
        for of in trunk_ids
        if (own := [one for one in events if trunk_of.get(one.attempt_id) == of])
    )


def receive(db: Database, trunk_id: TrunkId, events: Sequence[CallEvent]) -> int:
    """Store reports; those that the trunk has sent before are passed over. Return how many were new.

    One that cannot be stored does not keep the others from it. Raises Unavailable then, so that its network sends it
    again; until its own data must be to blame: then it is kept in quarantine and counts as received.
    """
    refused: list[tuple[CallEvent, Exception]] = []

    def store(some: Sequence[CallEvent]) -> int:
        with db.begin() as connection:
            return inbox.receive(connection, trunk_id, some)

    def pass_over(event: CallEvent, error: Exception) -> None:
        with db.begin() as connection:
            if not quarantine.count_refused(connection, trunk_id, event, error):
                refused.append((event, error))

    def put_off(event: CallEvent) -> None:
        refused.append((event, Contended("another transaction is in the way")))

    stored = sum(apart([inbox.cleaned(event) for event in events], store, pass_over, put_off))
    if refused:
        _, error = refused[0]
        raise Unavailable(f"{len(refused)} of {len(events)} reports cannot be stored yet, send them again: {error!r}")
    return stored
