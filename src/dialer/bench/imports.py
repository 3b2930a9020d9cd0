"""How fast one API process imports contacts over HTTP, and in how much memory, beside a bare COPY of the same rows.

The COPY is into the same table, with its indexes, triggers and foreign keys; it checks no number and no duplicate.
"""

import time

import httpx2
import psycopg

from dialer import wiring
from dialer.bench import contact_list
from dialer.bench.engine import Engine, driver_url
from dialer.bench.figure import Figure, Row, Size
from dialer.bench.process_usage import peak_resident_mib
from dialer.bench.servers import Bench
from dialer.domain.ids import uuid7

COLUMNS = "id, batch_id, phone_number, name, external_id, variables"
CSV = {"Content-Type": "text/csv"}
TIMEOUT_SECONDS = 1800.0

WORK = {Size.QUICK: (500,), Size.USUAL: (10_000, 100_000), Size.FULL: (10_000, 100_000, 1_000_000)}


def imports(bench: Bench) -> Figure:
    """Import files of several sizes, each into a batch of its own."""
    engine = bench.engine()
    found = [measure(engine, contacts) for contacts in WORK[bench.size]]
    return Figure(found, engine.violations())


def measure(engine: Engine, contacts: int) -> Row:
    pid, path = engine.pids["api"], f"{engine.supervisor.url}/v1/batch-calls/{engine.add_batch(0)}/contacts"
    with httpx2.Client(timeout=TIMEOUT_SECONDS, headers={"Authorization": f"Bearer {engine.api_key()}"}) as client:
        # What any first import loads: the numbering plans, among others.
        client.post(path, content=b"phone\n+12025550100\n", headers=CSV).raise_for_status()
        peak_resident_mib(pid)
        before, began = peak_resident_mib(pid), time.perf_counter()
        answer = client.post(path, content=contact_list.csv(contacts), headers=CSV).raise_for_status()
        seconds = time.perf_counter() - began
    assert answer.json()["data"]["imported"] == contacts, answer.text
    copied = copy_seconds(engine, contacts)
    return {
        "contacts": contacts,
        "contacts_per_second": contacts / seconds,
        "more_memory_mib": peak_resident_mib(pid) - before,
        "copied_per_second": contacts / copied,
        "share_of_copy": copied / seconds,
    }


def copy_seconds(engine: Engine, contacts: int) -> float:
    """Copy the same contacts into an empty batch, from one process; return the seconds."""
    batch_id, now, rng = engine.add_batch(0), wiring.clock(), wiring.chance()
    with psycopg.connect(driver_url(engine.settings.database)) as connection:
        began = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy(f"COPY contacts ({COLUMNS}) FROM STDIN".encode()) as copy:
            for phone, name, external_id, plan in contact_list.lines(contacts):
                copy.write_row((uuid7(now, rng), batch_id, phone, name, external_id, f'{{"plan": "{plan}"}}'))
        connection.commit()
        return time.perf_counter() - began
