"""Clients of the API that ask as fast as they are answered: a process of its own for each server.

    python -m dialer.bench.requests URL KEY KIND TARGET SECONDS CLIENTS

Prints the milliseconds of every answer as JSON.
"""

import json
import sys
import threading
import time

import httpx2

from dialer.bench.secret import SECRET
from dialer.clock import chance, clock
from dialer.domain.ids import uuid7
from dialer.providers.http.signing import Signer

RNG = chance()


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
    with httpx2.Client(base_url=f"{url}/v1", headers={"Authorization": f"Bearer {key}"}) as client:
        while not taken or time.perf_counter() < until:
            request = REQUESTS[kind](client, target, f"{name}-{len(taken)}")
            began = time.perf_counter()
            client.send(request).raise_for_status()
            taken.append((time.perf_counter() - began) * 1000)
    return taken


def read(client: httpx2.Client, target: str, _: str) -> httpx2.Request:
    return client.build_request("GET", f"/batch-calls/{target}")


def create(client: httpx2.Client, target: str, _: str) -> httpx2.Request:
    return client.build_request("POST", "/batch-calls", json={"name": "small", "agent_id": target})


def create_once(client: httpx2.Client, target: str, name: str) -> httpx2.Request:
    request = create(client, target, name)
    request.headers["X-Idempotency-Key"] = name
    return request


def report(client: httpx2.Client, target: str, name: str) -> httpx2.Request:
    """Report that a call rings, with a signature, as an HTTP platform does. Settle finds that the call is unknown."""
    now = clock()
    ringing = {"attempt_id": str(uuid7(now, RNG)), "event": "ringing", "at": now.isoformat()}
    body = json.dumps(ringing).encode()
    headers = {"Content-Type": "application/json", **Signer(SECRET).headers(name, now, body)}
    return client.build_request("POST", f"/providers/http/{target}/events", content=body, headers=headers)


REQUESTS = {"read": read, "create": create, "create_once": create_once, "report": report}


if __name__ == "__main__":
    main()
