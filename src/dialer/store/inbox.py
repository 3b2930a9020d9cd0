"""The inbox: what providers reported, committed before it is acknowledged and before anything is decided about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pendulum
from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.course import Verdict
from dialer.domain.events import CallEvent, EventKind
from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import Outcome
from dialer.store.database import rows, run

COURSE = tuple(EventKind)
LONGEST_TALK_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Received:
    """A report in the inbox, its place there, and the trunk that it came from."""

    id: int
    trunk_id: TrunkId
    event: CallEvent
    received_at: DateTime


def receive(connection: Connection, trunk_id: TrunkId, events: Sequence[CallEvent]) -> int:
    """Store the reports that are not there yet, by the provider's own key; return how many were new.

    One order for all who store the same reports at the same time, so that they wait for each other and not in a circle;
    it is that of a call's course.
    """
    events = sorted(events, key=lambda event: (event.attempt_id, COURSE.index(event.kind), event.key))
    return run(
        connection,
        """
        INSERT INTO inbox (trunk_id, event_key, attempt_id, kind, at, outcome, cause, talk_seconds, provider_call_id)
        SELECT :trunk, e.* FROM unnest(
            CAST(:keys AS text[]), CAST(:attempts AS uuid[]), CAST(:kinds AS text[]), CAST(:ats AS timestamptz[]),
            CAST(:outcomes AS text[]), CAST(:causes AS text[]), CAST(:talk AS double precision[]),
            CAST(:call_ids AS text[])) AS e
        ON CONFLICT (trunk_id, event_key) DO NOTHING
        """,
        trunk=trunk_id,
        keys=[event.key for event in events],
        attempts=[event.attempt_id for event in events],
        kinds=[event.kind for event in events],
        ats=[event.at for event in events],
        outcomes=[event.outcome for event in events],
        causes=[event.cause for event in events],
        talk=[_believable(event.talk_seconds) for event in events],
        call_ids=[event.provider_call_id for event in events],
    )


def _believable(talk_seconds: float | None) -> float | None:
    """Pass over what no network can have measured: it could not be reckoned with, and would stop all other reports."""
    return talk_seconds if talk_seconds is not None and 0 <= talk_seconds <= LONGEST_TALK_SECONDS else None


def oldest(connection: Connection, limit: int) -> list[int]:
    """List the oldest reports that are not settled."""
    found = rows(connection, "SELECT id FROM inbox WHERE settled_at IS NULL ORDER BY id LIMIT :limit", limit=limit)
    return [row.id for row in found]


def take_page(connection: Connection, limit: int) -> list[Received]:
    """Lock the oldest reports that nobody is settling, in the order in which they came."""
    return _received(
        rows(
            connection,
            "SELECT * FROM inbox WHERE settled_at IS NULL ORDER BY id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED",
            limit=limit,
        )
    )


def take(connection: Connection, ids: Sequence[int]) -> list[Received]:
    """Lock those of these reports that nobody has settled or is settling, in the order in which they came."""
    return _received(
        rows(
            connection,
            """
            SELECT * FROM inbox WHERE settled_at IS NULL AND id = ANY(:ids)
            ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
            """,
            ids=list(ids),
        )
    )


def _received(found: Sequence[Row[Any]]) -> list[Received]:
    return [
        Received(
            row.id,
            row.trunk_id,
            CallEvent(
                key=row.event_key,
                attempt_id=row.attempt_id,
                kind=EventKind(row.kind),
                at=pendulum.instance(row.at),
                outcome=Outcome(row.outcome) if row.outcome else None,
                cause=row.cause,
                talk_seconds=row.talk_seconds,
                provider_call_id=row.provider_call_id,
            ),
            pendulum.instance(row.received_at),
        )
        for row in found
    ]


def mark_settled(connection: Connection, verdicts: Sequence[tuple[int, Verdict]], now: DateTime) -> int:
    """Note of each report what became of it."""
    return run(
        connection,
        """
        UPDATE inbox i SET settled_at = :now, verdict = v.verdict
        FROM unnest(CAST(:ids AS bigint[]), CAST(:verdicts AS text[])) AS v (id, verdict) WHERE i.id = v.id
        """,
        ids=[row_id for row_id, _ in verdicts],
        verdicts=[verdict for _, verdict in verdicts],
        now=now,
    )


def is_empty(connection: Connection) -> bool:
    """Say whether nothing waits to be settled."""
    return not rows(connection, "SELECT 1 FROM inbox WHERE settled_at IS NULL LIMIT 1")
