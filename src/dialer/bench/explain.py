"""The time in which a batch and one of its contacts are explained, by how many contacts are stored.

Their windows are in 40 lanes, the dearest case: the pending contacts of each are counted. One contact in a thousand is
suppressed.
"""

from dialer import wiring
from dialer.bench import stored_contacts
from dialer.bench.claim import timed
from dialer.bench.engine import Ledger
from dialer.bench.figure import Figure, Row, Size, medians
from dialer.bench.servers import Bench
from dialer.domain.ids import BatchId, ContactId
from dialer.engine.explain import explain_contact, explain_contacts
from dialer.engine.rescue import rescue

SIZES = {Size.QUICK: (1_000,)}
USUAL = (1_000, 10_000, 100_000, 1_000_000)
REPEATS = 7
LANES = [f"Etc/GMT{hours:+}" for hours in range(-12, 13)] + [f"Etc/GMT{hours:+},UTC" for hours in range(-12, 3)]
LAST = "SELECT id FROM contacts WHERE batch_id = :id ORDER BY position DESC LIMIT 1"
SUPPRESS = """
INSERT INTO suppressions (workspace_id, phone_number)
SELECT :workspace, phone_number FROM contacts WHERE batch_id = :batch AND position % 1000 = 0 ON CONFLICT DO NOTHING
"""


def explain(bench: Bench) -> Figure:
    """Explain one batch that grows, and its last contact."""
    ledger, taken = bench.ledger(), []
    batch_id = ledger.add_batch(0, respect_contact_timezone=True, start_time="09:00", end_time="17:00")
    ledger.start([batch_id])
    rescue(ledger.context, wiring.clock(), wiring.chance())
    for stored in SIZES.get(bench.size, USUAL):
        stored_contacts.store(ledger, batch_id, stored - ledger.used, LANES)
        ledger.run(SUPPRESS, workspace=ledger.workspace_id, batch=batch_id)
        ledger.vacuum("suppressions")
        (last,) = ledger.rows(
            "SELECT id FROM contacts WHERE batch_id = :id ORDER BY position DESC LIMIT 1", id=batch_id
        )
        # The first one prepares statements.
        runs = [measure(ledger, batch_id, last.id) for _ in range(REPEATS + 1)][1:]
        taken.append({"stored_contacts": stored, **medians(runs)})
    return Figure(taken)


def measure(ledger: Ledger, batch_id: BatchId, contact_id: ContactId) -> Row:
    """Explain the batch, then the contact."""
    now = ledger.context.db.now()
    with timed() as batch:
        explained = explain_contacts(ledger.context, ledger.workspace_id, batch_id, now)
    assert explained.explanation.total == ledger.used
    with timed() as contact:
        explain_contact(ledger.context, ledger.workspace_id, batch_id, contact_id, now)
    return {
        "batch_ms": batch["ms"],
        "batch_sql_ms": batch["sql_ms"],
        "contact_ms": contact["ms"],
        "contact_sql_ms": contact["sql_ms"],
    }
