"""What the providers that speak HTTP have in common: how long a network wants to be left alone, and closed sockets."""

import asyncio
import socket
import ssl

import pytest
from pendulum import DateTime

from dialer.providers.http_client import open_client, retry_after
from support.networks.tcp_server import tcp_server
from support.networks.tls import CERTIFICATE, with_tls


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("nan", None),
        ("٣", None),
        ("0", 0.0),
        ("7", 7.0),
        ("999999999", 600.0),
        ("9999999999", None),
        ("Mon, 02 Mar 2026 09:00:30 GMT", 30.0),
        ("Mon, 02 Mar 2026 10:00:30 +0100", 30.0),
        ("Mon, 02 Mar 2026 08:00:00 GMT", 0.0),
        ("Mon, 02 Mar 2099 08:00:00 GMT", 600.0),
        ("Mon, 99 Mar 2026 08:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(
    start: DateTime, value: str | None, seconds: float | None
) -> None:
    assert retry_after(value, start) == seconds


async def test_a_connection_whose_requests_were_answered_is_closed_in_order() -> None:
    """A reset would be an error in the other side's log, each time a connection has been idle for long enough."""
    ends = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        try:
            ends.set_result(await reader.read())
        except ConnectionError as error:
            ends.set_result(error)
        writer.close()

    async with tcp_server(answer) as port, open_client(timeout_seconds=5, max_connections=1) as client:
        assert (await client.post(f"http://127.0.0.1:{port}/", content=b"")).text == "ok"
        await client.aclose()
        assert await ends == b""


@pytest.mark.parametrize("secure", [None, with_tls()], ids=["plain", "tls"])
async def test_a_connection_whose_request_had_no_answer_is_reset(
    monkeypatch: pytest.MonkeyPatch, secure: ssl.SSLContext | None
) -> None:
    """So that nothing of it is delivered any more (P1)."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    asked, ends = (asyncio.get_running_loop().create_future() for _ in range(2))

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set_result(await reader.readuntil(b"\r\n\r\n"))
        try:
            ends.set_result(await reader.read())
        except ConnectionError as error:
            ends.set_result(error)
        writer.close()

    async with (
        tcp_server(listen, secure) as port,
        open_client(
            url := f"{'https' if secure else 'http'}://127.0.0.1:{port}/", timeout_seconds=30, max_connections=1
        ) as client,
    ):
        asking = asyncio.create_task(client.post(url, content=b""))
        await asked
        asking.cancel()
        await asyncio.wait([asking])
        assert isinstance(await ends, ConnectionResetError)


async def test_a_connection_that_was_forgotten_on_its_way_is_found_out() -> None:
    closed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read()
        writer.close()
        closed.set()

    async with tcp_server(answer) as port, open_client(timeout_seconds=7, max_connections=1) as client:
        response = await client.get(f"http://127.0.0.1:{port}/")
        connection: socket.socket = response.extensions["network_stream"].get_extra_info("socket")
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for option, value in {"TCP_USER_TIMEOUT": 7000, "TCP_KEEPIDLE": 15}.items():
            if hasattr(socket, option):
                assert connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, option)) == value
        await client.aclose()
        await closed.wait()


async def test_a_tls_handshake_that_is_cancelled_closes_its_socket() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.setblocking(False)
        port = mute.getsockname()[1]
        url = f"https://127.0.0.1:{port}/"
        async with open_client(url, timeout_seconds=30, max_connections=1) as client:
            asking = asyncio.create_task(client.get(url))
            connection, _ = await loop.sock_accept(mute)
            with connection:
                assert await loop.sock_recv(connection, 65_536)
                asking.cancel()
                await asyncio.wait([asking])
                while await loop.sock_recv(connection, 65_536):
                    pass
