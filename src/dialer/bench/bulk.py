"""Changes of a whole batch: how long the operator waits for the answer, and when the last contact has changed.

The batch is active and outside its calling window, with a worker running.
"""

import io
import time
from collections.abc import Callable

from dialer import wiring
from dialer.bench import contact_list, stored_contacts
from dialer.bench.engine import Engine
from dialer.bench.figure import Figure, Row, Size
from dialer.bench.servers import Bench
from dialer.domain.ids import BatchId
from dialer.service import batches, suppressions

GIVE_UP_SECONDS = 1_800.0
WORK = {Size.QUICK: 500, Size.USUAL: 200_000, Size.FULL: 1_000_000}


def bulk(bench: Bench) -> Figure:
    """Cancel and delete one batch, let a second one expire, and suppress the numbers of a third one."""
    engine, contacts = bench.engine(), WORK[bench.size]
    cancelled, expired = add_waiting(engine, contacts), add_waiting(engine, contacts)
    first = engine.used
    suppressed = add_waiting(engine, contacts)
    file = io.BytesIO(b"".join(contact_list.csv(contacts, first)))
    found = [
        measure(engine, "cancel", lambda: cancel(engine, cancelled), lambda: is_moved(engine, cancelled)),
        measure(engine, "delete", lambda: delete(engine, cancelled), lambda: is_deleted(engine, cancelled)),
        measure(engine, "expire", lambda: expire(engine, expired), lambda: is_moved(engine, expired)),
        # From the answer on no claim takes these numbers, whatever their contacts' status is.
        measure(engine, "suppress", lambda: suppress(engine, file), lambda: is_moved(engine, suppressed)),
    ]
    return Figure([{"change": row["change"], "contacts": contacts, **row} for row in found], engine.violations())


def add_waiting(engine: Engine, contacts: int) -> BatchId:
    """Add an active batch whose window is closed for some days."""
    batch_id = engine.add_batch(0, working_days=[(wiring.clock().isoweekday() + 2) % 7 + 1])
    stored_contacts.store(engine, batch_id, contacts)
    engine.start([batch_id])
    return batch_id


def measure(engine: Engine, change: str, make: Callable[[], object], is_done: Callable[[], bool]) -> Row:
    began = time.perf_counter()
    make()
    answered = time.perf_counter() - began
    engine.wait_until(is_done, GIVE_UP_SECONDS, f"the end of {change}")
    return {"change": change, "answered_seconds": answered, "done_seconds": time.perf_counter() - began}


def cancel(engine: Engine, batch_id: BatchId) -> None:
    batches.cancel(engine.context.db, engine.workspace_id, batch_id)


def delete(engine: Engine, batch_id: BatchId) -> None:
    batches.delete(engine.context.db, engine.workspace_id, batch_id)


def expire(engine: Engine, batch_id: BatchId) -> None:
    engine.run("UPDATE batches SET expires_at = dialer_now() WHERE id = :id", id=batch_id)


def suppress(engine: Engine, file: io.BytesIO) -> None:
    suppressions.import_csv(engine.context.db, engine.workspace_id, file, wiring.clock(), wiring.chance())


def is_moved(engine: Engine, batch_id: BatchId) -> bool:
    return not engine.rows(
        "SELECT 1 FROM contacts WHERE batch_id = :id AND status IN ('pending', 'waiting') LIMIT 1", id=batch_id
    )


def is_deleted(engine: Engine, batch_id: BatchId) -> bool:
    return not engine.rows("SELECT 1 FROM contacts WHERE batch_id = :id LIMIT 1", id=batch_id)
