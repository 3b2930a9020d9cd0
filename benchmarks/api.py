"""How many requests a second two API processes answer, and in what time.

    .venv/bin/python benchmarks/api.py [--seconds 8] [--clients 16]

Starts its own Postgres, Redis and API processes on free ports of loopback; the clients are two processes of their own,
which ask as fast as they are answered, one each server. Ends by itself.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles

import httpx2
from imports import api

from dialer import embedded, wiring
from dialer.domain.roles import Role
from dialer.service import demo_setup, keys
from dialer.service.keys import NewKey
from dialer.settings import Settings


def ask(url: str, key: str, what: str, seconds: float, clients: int) -> list[float]:
    """Ask from so many threads; return the milliseconds of every answer."""
    kind, _, target = what.partition(" ")
    taken: list[float] = []

    def ask_in_turn(number: int) -> None:
        milliseconds = []
        with httpx2.Client(headers={"Authorization": f"Bearer {key}"}) as client:
            ends_at, asked = time.perf_counter() + seconds, 0
            while (began := time.perf_counter()) < ends_at:
                asked += 1
                if kind == "get":
                    answer = client.get(f"{url}/v1/batch-calls/{target}")
                else:
                    headers = {"X-Idempotency-Key": f"{began}-{number}-{asked}"} if kind == "once" else {}
                    body = {"name": "small", "agent_id": target}
                    answer = client.post(f"{url}/v1/batch-calls", json=body, headers=headers)
                assert answer.is_success, answer.text
                milliseconds.append((time.perf_counter() - began) * 1000)
        taken.extend(milliseconds)

    threads = [threading.Thread(target=ask_in_turn, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def measure(urls: list[str], key: str, what: str, seconds: float, clients: int) -> tuple[float, float, float]:
    """Ask both servers at once; return requests a second, and the median and 95th percentile in milliseconds."""
    command = [sys.executable, __file__, "--ask", key, what, str(seconds), str(max(1, clients // 2))]
    askers = [subprocess.Popen([*command, url], stdout=subprocess.PIPE) for url in urls[: min(clients, 2)]]
    taken = [
        milliseconds for asker in askers for milliseconds in json.loads(asker.communicate(timeout=seconds + 60)[0])
    ]
    cuts = quantiles(taken, n=20)
    return len(taken) / seconds, cuts[9], cuts[18]


def main() -> None:
    if sys.argv[1:2] == ["--ask"]:
        key, what, seconds, clients, url = sys.argv[2:]
        print(json.dumps(ask(url, key, what, float(seconds), int(clients))))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 4, 16])
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = stack.enter_context(embedded.running(folder, durable=True))
        settings = Settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            log_level="error",
            rate_limit_per_minute=10_000_000,
        )
        context = wiring.context_of(settings)
        context.db.upgrade()
        now, rng = wiring.clock(), wiring.chance()
        installed = demo_setup.install(context.db, {}, now, rng)
        key = keys.create(context.db, installed.workspace_id, NewKey(role=Role.ADMIN), now, rng)["key"]
        wiring.close(context)
        urls = [stack.enter_context(api(settings, folder / f"api-{number}.log"))[1] for number in range(2)]
        new = {"name": "one", "agent_id": str(installed.agent_id)}
        headers = {"Authorization": f"Bearer {key}"}
        batch = httpx2.post(f"{urls[0]}/v1/batch-calls", json=new, headers=headers).json()["data"]["id"]
        print("what               clients  requests/s  median ms  95th percentile ms")
        for name, what in (
            ("read a batch", f"get {batch}"),
            ("create one", f"create {installed.agent_id}"),
            ("create one, once", f"once {installed.agent_id}"),
        ):
            for clients in asked.clients:
                rate, median, slow = measure(urls, key, what, asked.seconds, clients)
                print(f"{name:<18} {clients:>7} {rate:>11,.0f} {median:>10.1f} {slow:>12.1f}", flush=True)


if __name__ == "__main__":
    main()
