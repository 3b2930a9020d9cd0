"""Fills a batch with many contacts quickly, where their import is not what is measured."""

from collections.abc import Sequence

from dialer.bench.contact_list import AREAS
from dialer.bench.engine import Ledger
from dialer.domain.ids import BatchId
from dialer.store.database import run

PAGE = 200_000


def store(ledger: Ledger, batch_id: BatchId, count: int, lanes: Sequence[str] = ("",)) -> None:
    """Add so many contacts, with valid numbers that are in no other batch. `lanes`: those of the contacts, in turn.

    Without the triggers, which would check and count each row: the counts are written afterwards.
    """
    for first in range(0, count, PAGE):
        _store(ledger, batch_id, min(PAGE, count - first), lanes)
    ledger.vacuum("contacts")


def _store(ledger: Ledger, batch_id: BatchId, count: int, lanes: Sequence[str]) -> None:
    with ledger.context.db.begin() as connection:
        run(connection, "SET LOCAL session_replication_role = replica")
        run(
            connection,
            """
            INSERT INTO contacts (id, batch_id, phone_number, name, external_id, variables, lane)
            SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), :batch,
                   '+1' || (CAST(:areas AS integer[]))[n % :number + 1] || 2000001 + n / :number,
                   'Contact ' || n, 'crm-' || n, '{"plan": "gold"}',
                   (CAST(:lanes AS text[]))[n % cardinality(CAST(:lanes AS text[])) + 1]
            FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
            """,
            batch=batch_id,
            areas=list(AREAS),
            lanes=list(lanes),
            number=len(AREAS),
            first=ledger.used,
            last=ledger.used + count - 1,
        )
        run(
            connection,
            "UPDATE batch_progress SET pending = pending + :count, total = total + :count WHERE batch_id = :batch",
            batch=batch_id,
            count=count,
        )
    ledger.used += count
