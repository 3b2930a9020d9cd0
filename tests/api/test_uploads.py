"""Uploads over a real socket: limits, clients that go away or stall, and memory that stays flat."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from api.conftest import Api, Draft, Served
from dialer.api.transfers import PER_WORKSPACE
from support.deadline import DEADLINE_SECONDS, wait_until
from support.world import World

MIB = 1024 * 1024


def rows(count: int) -> Iterator[bytes]:
    yield b"phone,name\n"
    for first in range(0, count, 1000):
        yield b"".join(b"+1202%07d,Name %d\n" % (2_000_000 + row, row) for row in range(first, first + 1000))


def upload(served: Served, batch_id: str, content: Any, **headers: str) -> httpx2.Response:
    return served.client.post(
        f"/batch-calls/{batch_id}/contacts", content=content, headers={"Content-Type": "text/csv"} | headers
    )


def half(served: Served, batch_id: str, kind: str, body: bytes, missing: int = 1000) -> socket.socket:
    """Send a part of an upload that says it is longer by the `missing` bytes."""
    at = urlsplit(served.url)
    connection = socket.create_connection((at.hostname, at.port))
    head = (
        f"POST {at.path}/batch-calls/{batch_id}/contacts HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
        f"Authorization: {served.client.headers['Authorization']}\r\nContent-Length: {len(body) + missing}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def wait_for(world: World, condition: str, **values: Any) -> None:
    wait_until(lambda: bool(world.value(f"SELECT {condition}", **values)))


STAGING = "SELECT 1 FROM pg_class WHERE relname = 'staged_contacts'"
UNDER_WAY = f"EXISTS ({STAGING})"
IN_TRANSACTION = """
    EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%')
"""


@pytest.mark.parametrize("kind", ["text/csv", "multipart/form-data; boundary=x"])
def test_a_client_that_goes_away_midway_leaves_nothing_behind(api: Api, draft: Draft, world: World, kind: str) -> None:
    batch_id = draft()["id"]
    part = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' if "multipart" in kind else b""
    with api.served() as served:
        connection = half(served, batch_id, kind, part + b"".join(rows(5000)))
        wait_for(world, UNDER_WAY)
        connection.close()
        wait_for(world, f"NOT {UNDER_WAY}")
        assert served.client.get(f"/batch-calls/{batch_id}").json()["data"]["counts"]["total"] == 0
        assert upload(served, batch_id, rows(1000)).status_code == 200


def test_a_client_that_stalls_is_given_up(api: Api, draft: Draft, world: World) -> None:
    batch_id = draft()["id"]
    with api.served(upload_stall_seconds=0.3) as served:
        connection = half(served, batch_id, "text/csv", b"phone\n+12025550101\n")
        connection.settimeout(DEADLINE_SECONDS)
        answer = connection.recv(65536)
        connection.close()
    assert b" 400 " in answer
    assert world.value("SELECT count(*) FROM contacts") == 0


@pytest.mark.parametrize("says_so", [True, False])
def test_a_file_beyond_the_limit_is_refused_with_nothing_stored(
    api: Api, draft: Draft, world: World, says_so: bool
) -> None:
    batch_id = draft()["id"]
    content = b"".join(rows(80_000))
    assert len(content) > MIB
    with api.served(max_upload_mb=1) as served:
        answer = upload(served, batch_id, content if says_so else iter([content[:MIB], content[MIB:]]))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert world.value("SELECT count(*) FROM contacts") == 0


@pytest.mark.parametrize("says_so", [True, False])
def test_a_json_body_beyond_the_limit_is_refused(api: Api, draft: Draft, says_so: bool) -> None:
    batch_id = draft()["id"]
    content = b'{"contacts": [' + b" " * MIB + b"]}"
    with api.served(max_body_mb=1) as served:
        body = content if says_so else iter([content])
        for path in (f"/batch-calls/{batch_id}/contacts", "/batch-calls"):
            body = content if says_so else iter([content])
            answer = served.client.post(path, content=body, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("kind", ["text/csv", "application/json"])
def test_what_says_that_it_is_too_large_is_refused_before_it_is_sent(api: Api, draft: Draft, kind: str) -> None:
    with api.served(max_upload_mb=1, max_body_mb=1) as served:
        connection = half(served, draft()["id"], kind, b"", missing=2 * MIB)
        connection.settimeout(20)
        assert b" 413 " in connection.recv(65536)
        connection.close()


def test_an_upload_that_is_slow_holds_no_transaction_open(api: Api, draft: Draft, world: World) -> None:
    batch_id = draft()["id"]
    with api.served(upload_stall_seconds=600) as served:
        connection = half(served, batch_id, "text/csv", b"phone\n")
        wait_for(world, UNDER_WAY)
        wait_for(world, f"NOT {IN_TRANSACTION}")
        connection.close()


def test_a_workspace_with_slow_uploads_is_told_to_try_later_and_others_are_not(
    api: Api, draft: Draft, world: World
) -> None:
    batch_id = draft()["id"]
    with api.served(api_threads=1, upload_stall_seconds=600) as served:
        slow = [half(served, batch_id, "text/csv", b"phone\n") for _ in range(PER_WORKSPACE)]
        wait_for(world, f"count(*) = {PER_WORKSPACE} FROM ({STAGING}) AS staging")
        refused = upload(served, batch_id, rows(1000))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        assert int(refused.headers["Retry-After"]) > 0
        assert served.client.get(f"/batch-calls/{batch_id}").status_code == 200
        key = {"Authorization": f"Bearer {api.key(workspace=api.workspace('other'))}"}
        other = served.client.post("/suppressions", content=rows(1000), headers=key | {"Content-Type": "text/csv"})
        assert other.status_code == 200
        for connection in slow:
            connection.close()
        wait_for(world, f"NOT {UNDER_WAY}")
        wait_until(lambda: upload(served, batch_id, rows(1000)).status_code == 200)


def drip(connection: socket.socket) -> bytes:
    """Send a byte at a time until there is an answer, and return that."""
    connection.settimeout(0.05)
    for _ in range(DEADLINE_SECONDS * 20):
        with suppress(TimeoutError):
            return connection.recv(65536)
        connection.sendall(b"x")
    raise AssertionError("no answer")


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"min_bytes_per_second": 1_000_000}, b"more slowly than"),
        ({"transfer_timeout_seconds": 0.5}, b"not arrive within"),
    ],
)
def test_an_upload_that_never_stalls_and_is_too_slow_is_given_up(
    api: Api, draft: Draft, world: World, limit: dict[str, Any], reason: bytes
) -> None:
    with api.served(upload_stall_seconds=2, **limit) as served:
        connection = half(served, draft()["id"], "text/csv", b"phone\n", missing=10_000)
        answer = drip(connection)
        connection.close()
    assert b" 400 " in answer
    assert reason in answer
    assert world.value("SELECT count(*) FROM contacts") == 0


def test_a_json_body_that_does_not_come_to_its_end_is_given_up(api: Api, draft: Draft) -> None:
    with api.served(body_timeout_seconds=0.3) as served:
        connection = half(served, draft()["id"], "application/json", b"{")
        answer = drip(connection)
        connection.close()
    assert b" 400 " in answer


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize(
    "content",
    [b'phone,name\n+12025550101,"' + b"x" * 11_000_000 + b'"\n', b"name\n" + b"Ada\n" * 7_500_000],
    ids=["a long cell", "no phone column"],
)
def test_a_large_file_that_is_refused_gets_its_answer(api: Api, draft: Draft, keep_alive: bool, content: bytes) -> None:
    batch_id = draft()["id"]
    with api.served() as served:
        at = urlsplit(served.url)
        for _ in range(3):
            with closing(HTTPConnection(at.hostname or "", at.port, timeout=DEADLINE_SECONDS)) as connection:
                headers = {"Authorization": served.client.headers["Authorization"], "Content-Type": "text/csv"}
                headers |= {} if keep_alive else {"Connection": "close"}
                connection.request("POST", f"{at.path}/batch-calls/{batch_id}/contacts", content, headers)
                answer = connection.getresponse()
                assert (answer.status, b"unreadable_file" in answer.read()) == (400, True)
                if keep_alive:
                    connection.request("GET", f"{at.path}/batch-calls/{batch_id}", headers=headers)
                    assert connection.getresponse().status == 200


def test_a_client_that_waits_to_be_told_to_continue_is_refused_before_it_sends(api: Api, draft: Draft) -> None:
    with api.served(max_upload_mb=1) as served:
        at = urlsplit(served.url)
        with socket.create_connection((at.hostname, at.port), timeout=DEADLINE_SECONDS) as connection:
            head = (
                f"POST {at.path}/batch-calls/{draft()['id']}/contacts HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                f"Authorization: {served.client.headers['Authorization']}\r\nContent-Type: text/csv\r\n"
                f"Content-Length: {2 * MIB}\r\n\r\n"
            )
            connection.sendall(head.encode())
            assert b" 413 " in connection.recv(65536).partition(b"\r\n")[0]


def test_memory_stays_flat_however_long_a_file_is(api: Api, draft: Draft, tmp_path: Path) -> None:
    small, large = draft()["id"], draft()["id"]
    key = api.key()
    port = _free_port()
    with (tmp_path / "log").open("wb") as log:
        environment = os.environ | dict(api.settings.environment())
        command = [sys.executable, "-m", "dialer", "api", "--port", str(port)]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}/v1", timeout=DEADLINE_SECONDS) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            served = Served("", client, None)  # type: ignore[arg-type]
            _until_up(client)
            assert upload(served, small, rows(5_000)).status_code == 200
            before = _peak(process.pid)
            assert upload(served, large, rows(60_000)).json()["data"]["imported"] > 50_000
            assert _peak(process.pid) - before < 20 * MIB
    finally:
        process.terminate()
        assert process.wait(DEADLINE_SECONDS) == 0


def _until_up(client: httpx2.Client) -> None:
    def is_up() -> bool:
        with suppress(httpx2.TransportError):
            return client.get("../readyz").is_success
        return False

    wait_until(is_up)


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
