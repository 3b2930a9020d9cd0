"""How long the forecast of a batch takes, by how many contacts it has; called within a month, with two retries.

`sql_ms`: the part of it in which Postgres was waited for. `cpu_seconds`: what is computed in the process of the API.
"""

import time
from random import Random

from dialer.bench import stored_contacts
from dialer.bench.claim import timed
from dialer.bench.engine import Ledger
from dialer.bench.figure import Figure, Row, Size, medians
from dialer.bench.servers import Bench
from dialer.domain.ids import BatchId
from dialer.service import forecasts
from dialer.service.forecasts import ForecastRequest

CALLING_DAYS = 22
WORK = {
    Size.QUICK: ((1_000,), 1),
    Size.USUAL: ((1_000, 10_000, 100_000, 1_000_000), 1),
    Size.FULL: ((1_000, 10_000, 100_000, 1_000_000), 5),
}


def forecast(bench: Bench) -> Figure:
    """Forecast a draft of each size."""
    (sizes, repeats), ledger = WORK[bench.size], bench.ledger()
    return Figure([measure(ledger, contacts, repeats) for contacts in sizes])


def measure(ledger: Ledger, contacts: int, repeats: int) -> Row:
    """Forecast a draft of so many contacts, whose daily cap spreads it over a month."""
    batch_id = ledger.add_batch(
        0,
        start_time="09:00",
        end_time="17:00",
        working_days=[1, 2, 3, 4, 5],
        max_calls_per_day=max(1, 2 * contacts // CALLING_DAYS),
        retry_failed=True,
        max_retry_attempts=2,
    )
    stored_contacts.store(ledger, batch_id, contacts)
    return {"contacts": contacts, **medians([_once(ledger, batch_id) for _ in range(repeats)])}


def _once(ledger: Ledger, batch_id: BatchId) -> Row:
    db = ledger.context.db
    began = time.process_time()
    with timed() as taken:
        made = forecasts.make(db, ledger.workspace_id, batch_id, ForecastRequest(), db.now(), Random(1))
    cpu, days = time.process_time() - began, len(made.forecast.attempts_by_day)
    return {"days": days, "seconds": taken["ms"] / 1_000, "cpu_seconds": cpu, "sql_ms": taken["sql_ms"]}
