"""Clients of the API that ask as fast as they are answered: a process of its own for each server.

    python -m dialer.bench.requests URL KEY KIND TARGET SECONDS CLIENTS

Prints the milliseconds of every answer as JSON.
"""

import json
import sys
import threading
import time

import httpx2


def main() -> None:
    """Ask from so many threads, and print what each answer took."""
    url, key, kind, target, seconds, clients = sys.argv[1:]
    taken: list[float] = []
    until = time.perf_counter() + float(seconds)
    threads = [
        threading.Thread(target=lambda name=f"{number}": taken.extend(ask(url, key, kind, target, until, name)))
        for number in range(int(clients))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps(taken))


def ask(url: str, key: str, kind: str, target: str, until: float, name: str) -> list[float]:
    """Ask at least once, until the time is over; return the milliseconds of each answer."""
    taken: list[float] = []
    with httpx2.Client(headers={"Authorization": f"Bearer {key}"}) as client:
        while not taken or time.perf_counter() < until:
            began = time.perf_counter()
            if kind == "read":
                answer = client.get(f"{url}/v1/batch-calls/{target}")
            else:
                headers = {"X-Idempotency-Key": f"{began}-{name}"} if kind == "create_once" else {}
                body = {"name": "small", "agent_id": target}
                answer = client.post(f"{url}/v1/batch-calls", json=body, headers=headers)
            answer.raise_for_status()
            taken.append((time.perf_counter() - began) * 1000)
    return taken


if __name__ == "__main__":
    main()
