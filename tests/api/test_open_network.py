"""Clients that nobody has authenticated, and clients that read slowly: what one of them may take is bounded."""

import io
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from api.conftest import Api, Draft, Served
from api.test_webhooks import SECRET
from dialer import log
from dialer.api.envelope import Error
from dialer.api.protocol import MAX_HEADER_BYTES, MAX_PIPELINED
from dialer.api.transfers import PER_WORKSPACE
from dialer.api.webhooks import unsigned_reports
from support.deadline import DEADLINE_SECONDS, wait_until
from support.world import World

MIB = 1024 * 1024


def connect(served: Served, sent: bytes = b"") -> socket.socket:
    at = urlsplit(served.url)
    connection = socket.create_connection((at.hostname, at.port), timeout=DEADLINE_SECONDS)
    connection.sendall(sent)
    return connection


def answer_to(served: Served, sent: bytes) -> bytes:
    """Everything that is answered until the server closes the connection."""
    with connect(served, sent) as connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def error_of(said: bytes) -> dict[str, Any]:
    """The error in a response in the API's format."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"content-length: %d\r\n" % len(body) in head + b"\r\n"
    refusal = Error.model_validate_json(body)
    assert refusal.meta.request_id
    return refusal.error.model_dump()


def post(path: str, length: int, headers: str = "") -> bytes:
    """The head of a POST whose body does not come."""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n".encode()


@pytest.fixture
def trunk(api: Api, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TRUNK_PLATFORM_SECRET", SECRET)
    config = {"url": "http://127.0.0.1:9/calls", "secret": "env:TRUNK_PLATFORM_SECRET"}
    with api.client() as client:
        made = client.post("/trunks", json={"name": "platform", "provider": "http", "config": config})
    return str(made.json()["data"]["id"])


def connections(served: Served) -> int:
    """Count the connections that the server has open, besides that of the client which holds a key."""
    port = f":{urlsplit(served.url).port:04X} "
    lines = Path("/proc/net/tcp").read_text().splitlines()
    # Of those that are established (01), the ends whose local address has the port of the server.
    return sum(port in line[:21] + " " and line.split()[3] == "01" for line in lines)


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nX-Header: ", b"\r\n"])
def test_a_header_that_does_not_end_in_time_closes_its_connection(api: Api, sent: bytes) -> None:
    with api.served(header_timeout_seconds=0.3) as served:
        assert b" 408 " in answer_to(served, sent)


def test_a_header_in_small_pieces_has_no_more_time(api: Api) -> None:
    with api.served(header_timeout_seconds=0.5) as served, connect(served, b"GET / HTTP/1.1\r\n") as connection:
        connection.settimeout(0.05)
        response = b""
        for _ in range(20 * DEADLINE_SECONDS):
            try:
                response += connection.recv(65536)
                break
            except TimeoutError:
                connection.sendall(b"a: b\r\n")
        assert b" 408 " in response


def test_the_next_request_of_a_connection_has_its_own_time(api: Api) -> None:
    with api.served(header_timeout_seconds=0.5) as served:
        request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        response = answer_to(served, request + request + b"GET /he")
        assert response.count(b" 200 OK") == 2
        assert response.count(b" 408 ") == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nX-Header: " + b"x" * 10 * MAX_HEADER_BYTES,
        b"GET /" + b"x" * 10 * MAX_HEADER_BYTES,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 2 * MAX_HEADER_BYTES,
    ],
    ids=["value", "path", "many"],
)
def test_a_header_without_end_is_refused_whatever_is_long_in_it(api: Api, sent: bytes) -> None:
    with api.served() as served:
        assert b" 431 " in answer_to(served, sent)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Header: " + b"x" * MAX_HEADER_BYTES,
        b"GET /" + b"x" * MAX_HEADER_BYTES + b" HTTP/1.1",
        b"GET / HTTP/1.1\r\nHost: x" + b"\r\na: b" * (MAX_HEADER_BYTES // 4),
    ],
    ids=["value", "path", "many"],
)
def test_a_complete_header_that_is_too_large_is_refused(api: Api, sent: bytes) -> None:
    with api.served() as served:
        said = answer_to(served, sent + b"\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 431 ")
        assert error_of(said)["code"] == "header_too_large"


def test_what_is_refused_before_the_application_sees_it_has_the_format_of_every_error(api: Api) -> None:
    with api.served(header_timeout_seconds=0.3) as served:
        assert error_of(answer_to(served, b"no HTTP\r\n\r\n"))["code"] == "bad_request"
        assert error_of(answer_to(served, b"GET /"))["code"] == "header_timeout"


def test_trailers_without_end_close_their_connection(api: Api) -> None:
    head = b"POST /v1/agents HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    with api.served() as served:
        response = answer_to(served, head + b"a: b\r\n" * 2 * MAX_HEADER_BYTES)
        assert response.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 431 "))


def test_many_requests_at_once_on_one_connection_are_refused(api: Api) -> None:
    with api.served() as served:
        response = answer_to(served, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 10 * MAX_PIPELINED)
        assert b" 400 " in response


@contextmanager
def logged(level: str) -> Iterator[io.StringIO]:
    """Collect what is logged at this level or above."""
    written = io.StringIO()
    with redirect_stderr(written):
        log.configure("console", level)
    try:
        yield written
    finally:
        log.configure("console", "error")


def test_requests_that_are_answered_after_their_connection_was_closed_leave_no_error_in_the_log(api: Api) -> None:
    with logged("error") as written, api.served() as served:
        for _ in range(5):
            answer_to(served, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n" * 10 * MAX_PIPELINED)
        wait_until(lambda: connections(served) == 0)
    assert written.getvalue() == ""


def test_requests_for_an_upgrade_leave_no_line_in_the_log(api: Api) -> None:
    with logged("warning") as written, api.served() as served:
        upgrade = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        answer_to(served, upgrade + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert written.getvalue() == ""


def test_a_path_is_logged_cut_and_without_control_characters(api: Api) -> None:
    with logged("info") as written, api.served() as served:
        served.client.get("/agents/a%00%1b%0ab" + "x" * 5000)
    (line,) = [line for line in written.getvalue().splitlines() if "/agents/a" in line]
    assert r"/agents/a\x00\x1b\nbxxx" in line.replace("\\\\", "\\")
    assert len(line) < 600


def test_a_websocket_is_answered_as_the_plain_request_that_it_is(api: Api) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    with api.served(header_timeout_seconds=0.5) as served:
        response = answer_to(served, b"GET /v1/agents HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n")
        assert response.startswith(b"HTTP/1.1 401 ")


def test_connections_beyond_the_limit_are_told_so_and_served_again_when_others_are_gone(api: Api) -> None:
    with api.served(max_connections=8, header_timeout_seconds=600) as served:
        assert served.client.get("/agents").status_code == 200
        with ExitStack() as stack:
            for _ in range(7):
                stack.enter_context(connect(served))
            wait_until(lambda: connections(served) >= 8)
            refused = answer_to(served, b"")
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: " in refused
            # Who is connected is served.
            assert served.client.get("/agents").status_code == 200
        wait_until(lambda: b" 200 " in answer_to(served, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"))


def test_a_report_to_a_trunk_that_is_not_there_is_refused_before_its_body_comes(api: Api) -> None:
    with api.served(body_timeout_seconds=600) as served:
        for path in (f"http/{uuid4()}/events", f"http/{uuid4()}/events/{uuid4()}", f"none/{uuid4()}/events"):
            sent = post(f"/v1/providers/{path}", 10_000_000, "Connection: close\r\n")
            assert answer_to(served, sent).startswith(b"HTTP/1.1 404 ")


def test_reports_are_small(api: Api, trunk: str) -> None:
    path = f"/v1/providers/http/{trunk}/events"
    with api.served(body_timeout_seconds=5) as served:
        response = answer_to(served, post(path, MIB + 1, "Connection: close\r\n"))
        assert response.startswith(b"HTTP/1.1 413 ")
        chunked = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        response = answer_to(served, chunked + b"%x\r\n" % MIB + b"x" * MIB)
        assert response.startswith(b"HTTP/1.1 413 ")


def test_a_report_that_does_not_come_to_its_end_is_given_up(api: Api, trunk: str) -> None:
    with api.served(body_timeout_seconds=0.3) as served:
        response = answer_to(served, post(f"/v1/providers/http/{trunk}/events", 100, "Connection: close\r\n") + b"{")
        assert response.startswith(b"HTTP/1.1 400 ")


def test_an_address_whose_reports_are_not_signed_is_soon_refused_before_the_body(api: Api, trunk: str) -> None:
    path = f"/providers/http/{trunk}/events"
    with api.served() as served:
        served.app.state.unsigned_reports = unsigned_reports(per_minute=2)
        for _ in range(2):
            assert served.client.post(path, content=b"{}").status_code == 403
        refused = answer_to(served, post(f"/v1{path}", 100_000, "Connection: close\r\n"))
        assert refused.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: " in refused
        # Another trunk's network at the same address, as behind a proxy, is not shut out.
        assert served.client.post(f"/providers/http/{uuid4()}/events", content=b"{}").status_code == 404


def test_no_route_reads_a_body_before_it_knows_who_sends_it(api: Api) -> None:
    document = api.app().openapi()
    routes = [(method, path) for path, methods in document["paths"].items() for method in methods]
    with_bodies = [(method, path) for method, path in routes if method in ("post", "patch")]
    assert len(with_bodies) > 10
    with api.served(body_timeout_seconds=600, upload_stall_seconds=600) as served:
        for method, path in with_bodies:
            path = re.sub(r"{\w+}", str(uuid4()), path.replace("{provider}", "http"))
            head = "Connection: close\r\nContent-Type: application/json\r\n"
            response = answer_to(served, post(path, 10_000_000, head).replace(b"POST", method.upper().encode(), 1))
            assert response.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 404 ")), (path, response[:100])


def large(world: World, batch_id: str) -> None:
    """Add contacts whose export is larger than what the kernel buffers."""
    world.sql(
        """
        INSERT INTO contacts (id, batch_id, phone_number, variables)
        SELECT gen_random_uuid(), :batch, '+1202' || (2000000 + n), jsonb_build_object('note', repeat('x', 15000))
        FROM generate_series(1, 1000) AS n
        """,
        batch=batch_id,
    )


def get_export(served: Served, batch_id: str) -> bytes:
    path, key = urlsplit(served.url).path, served.client.headers["Authorization"]
    return f"GET {path}/batch-calls/{batch_id}/results.csv HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n\r\n".encode()


def unread(served: Served, batch_id: str) -> socket.socket:
    """Ask for an export, and read only its beginning."""
    connection = connect(served, get_export(served, batch_id))
    assert b" 200 " in connection.recv(100)
    return connection


def test_exports_that_are_read_slowly_hold_no_transaction_open_and_are_limited_by_workspace(
    api: Api, draft: Draft, world: World
) -> None:
    batch_id = draft()["id"]
    large(world, batch_id)
    open_ones = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state LIKE 'idle in transaction%'
    """
    with api.served(send_timeout_seconds=600) as served:
        slow = [unread(served, batch_id) for _ in range(PER_WORKSPACE)]
        wait_until(lambda: not world.value(open_ones))
        refused = served.client.get(f"/batch-calls/{batch_id}/results.csv")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        assert int(refused.headers["Retry-After"]) > 0
        for connection in slow:
            connection.close()
        wait_until(lambda: served.client.get(f"/batch-calls/{batch_id}/results.csv").status_code == 200)


@pytest.mark.parametrize("limit", [{"send_timeout_seconds": 0.3}, {"transfer_timeout_seconds": 0.3}])
def test_an_export_that_is_not_read_is_given_up(api: Api, draft: Draft, world: World, limit: dict[str, Any]) -> None:
    batch_id = draft()["id"]
    large(world, batch_id)
    with api.served(**limit) as served:
        slow = [unread(served, batch_id) for _ in range(PER_WORKSPACE)]
        exports = served.app.state.exports
        wait_until(lambda: not exports.running)
        for connection in slow:
            connection.close()


def test_a_read_that_takes_long_is_a_503_that_says_when_to_try_again(api: Api, world: World) -> None:
    world.sql("ALTER TABLE suppressions RENAME TO put_away")
    try:
        world.sql("CREATE VIEW suppressions AS SELECT * FROM put_away WHERE CAST(pg_sleep(60) AS text) = ''")
        world.sql("INSERT INTO put_away (workspace_id, phone_number) SELECT id, '+12025550101' FROM workspaces")
        with api.served(read_timeout_seconds=0.3) as served:
            late = served.client.get("/suppressions", params={"offset": 1_000_000})
    finally:
        world.sql("DROP VIEW IF EXISTS suppressions")
        world.sql("ALTER TABLE put_away RENAME TO suppressions")
    assert (late.status_code, late.json()["error"]["code"]) == (503, "unavailable")
    assert int(late.headers["Retry-After"]) > 0


def test_one_workspace_may_run_so_many_audits_at_once(api: Api, draft: Draft) -> None:
    batch_id = draft()["id"]
    with api.served() as served, ExitStack() as stack:
        for _ in range(PER_WORKSPACE):
            stack.enter_context(served.app.state.audits.slot(api.world.installed.workspace_id))
        refused = served.client.get(f"/batch-calls/{batch_id}/audit")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        stack.close()
        assert served.client.get(f"/batch-calls/{batch_id}/audit").status_code == 200
