"""How fast contacts are imported over HTTP, and in how much memory, beside a bare COPY of the same rows.

    .venv/bin/python benchmarks/imports.py 10000 100000 1000000

Starts its own Postgres, Redis and API process on free ports of loopback. Ends by itself.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import httpx2
import psycopg

from dialer import embedded, wiring
from dialer.domain.roles import Role
from dialer.service import demo_setup, keys
from dialer.service.keys import NewKey
from dialer.settings import Settings

MIB = 1024 * 1024
AREAS = [*range(201, 210), *range(212, 220), *range(301, 311), *range(312, 322)]
COLUMNS = "id, batch_id, phone_number, name, external_id, variables"


def lines(count: int) -> Iterator[tuple[str, str, str, str]]:
    """Rows of numbers in the North American plan: phone, name, external_id, plan."""
    for row in range(count):
        area = AREAS[row % len(AREAS)]
        yield f"+1{area}{2_000_001 + row // len(AREAS)}", f"Contact {row}", f"crm-{row}", "gold"


def pieces(count: int) -> Iterator[bytes]:
    """The rows as CSV, in pieces of some 64 KiB."""
    piece = ["phone,name,external_id,plan"]
    for row in lines(count):
        piece.append(",".join(row))
        if len(piece) == 1500:
            yield ("\n".join(piece) + "\n").encode()
            piece = []
    yield ("\n".join(piece) + "\n").encode()


@contextmanager
def api(settings: Settings, log: Path) -> Iterator[tuple[int, str]]:
    """Run one API process; yields its pid and address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as out:
        command = [sys.executable, "-m", "dialer", "api", "--port", str(port)]
        process = subprocess.Popen(command, env=os.environ | dict(settings.environment()), stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if httpx2.get(f"{url}/readyz").is_success:
                    break
            except httpx2.TransportError:
                time.sleep(0.1)
        yield process.pid, url
    finally:
        process.terminate()
        process.wait(30)


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes; begins anew from what it has now."""
    most = int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return most


def bare_copy(database_url: str, count: int) -> float:
    """Copy the same rows into a table with the same indexes, from one process; return the seconds."""
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE bare (LIKE contacts INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING INDEXES)")
        rng = Random(1)
        batch_id = wiring.clock().format("X").zfill(32)
        began = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy(f"COPY bare ({COLUMNS}) FROM STDIN") as copy:
            for phone, name, external_id, plan in lines(count):
                copy.write_row(
                    (f"{rng.getrandbits(128):032x}", batch_id, phone, name, external_id, f'{{"plan": "{plan}"}}')
                )
        connection.commit()
        seconds = time.perf_counter() - began
        connection.execute("DROP TABLE bare")
        return seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, embedded.running(Path(folder), durable=True) as servers:
        settings = Settings(database_url=servers.database_url, redis_url=servers.redis_url, log_level="error")
        context = wiring.context_of(settings)
        context.db.upgrade()
        now, rng = wiring.clock(), wiring.chance()
        installed = demo_setup.install(context.db, {}, now, rng)
        key = keys.create(context.db, installed.workspace_id, NewKey(role=Role.ADMIN), now, rng)["key"]
        wiring.close(context)
        print("rows        seconds  rows/s   more memory   bare COPY   times as long")
        for count in map(int, sys.argv[1:] or ["10000", "100000", "1000000"]):
            with api(settings, Path(folder) / "api.log") as (pid, url), httpx2.Client(timeout=1800) as client:
                client.headers["Authorization"] = f"Bearer {key}"
                new = {"name": str(count), "agent_id": str(installed.agent_id)}
                batch_id = client.post(f"{url}/v1/batch-calls", json=new).json()["data"]["id"]
                path, csv = f"{url}/v1/batch-calls/{batch_id}/contacts", {"Content-Type": "text/csv"}
                # What any first import loads: the numbering plans, among others.
                client.post(path, content=b"phone\n+12025550100\n", headers=csv)
                peak(pid)
                before = peak(pid)
                began = time.perf_counter()
                report = client.post(path, content=pieces(count), headers=csv).json()["data"]
                seconds = time.perf_counter() - began
                more = (peak(pid) - before) / MIB
                assert report["imported"] == count, report
            bare = bare_copy(servers.database_url, count)
            through_api = f"{count:>9,} {seconds:>8.1f} {count / seconds:>8,.0f} {more:>9.0f} MiB"
            print(f"{through_api} {bare:>9.1f} s {seconds / bare:>10.1f}", flush=True)


if __name__ == "__main__":
    main()
