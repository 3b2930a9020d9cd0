"""What the processes say to their broker: whom they trust by TLS, and from which request a task comes."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Thread
from urllib.parse import urlsplit

import pytest
from amqp import transport as amqp
from celery import Celery
from celery.app.trace import build_tracer
from kombu.exceptions import OperationalError
from structlog.contextvars import bound_contextvars, get_contextvars

from dialer import broker
from dialer.embedded import Servers
from dialer.errors import Unavailable
from dialer.store.leases import Leases
from support.networks.tcp_server import tcp_server
from support.networks.tls import CERTIFICATE, with_tls

TRUSTED = f"ssl_ca_certs={CERTIFICATE}"
# The certificate is for 127.0.0.1, and nobody vouches for it.
CASES = [
    ("127.0.0.1", "", False),
    ("127.0.0.1", TRUSTED, True),
    ("127.0.0.2", TRUSTED, False),
    ("127.0.0.2", f"{TRUSTED}&ssl_check_hostname=false", True),
    ("127.0.0.2", "ssl_cert_reqs=none", True),
]


def relay_to(url: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Pass on what comes in on a connection, as a server with TLS would get it."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while part := await reader.read(65_536):
                writer.write(part)
        finally:
            writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)
        await asyncio.gather(there[1].wait_closed(), writer.wait_closed(), return_exceptions=True)

    return relay


@pytest.mark.parametrize(("host", "options", "is_accepted"), CASES)
async def test_slots_and_queues_verify_the_certificate_and_the_name_of_redis_unless_the_url_says_otherwise(
    servers: Servers, host: str, options: str, is_accepted: bool
) -> None:
    def check(url: str) -> None:
        leases, app = Leases(url), Celery()
        app.conf.update(broker.connection_of(url))
        with app.connection() as queues:
            if is_accepted:
                leases.ping()
                assert queues.default_channel.client.ping()
            else:
                with pytest.raises(Unavailable, match="certificate verify failed"):
                    leases.ping()
                with pytest.raises(OperationalError, match="certificate verify failed"):
                    queues.ensure_connection(max_retries=1, interval_start=0)
        leases.close()

    there = urlsplit(servers.redis_url)
    async with tcp_server(relay_to(servers.redis_url), with_tls(), host) as port:
        password = there.netloc.rpartition("@")[0]
        await asyncio.to_thread(check, f"rediss://{password}@{host}:{port}{there.path}?{options}".rstrip("?"))


@pytest.mark.parametrize(("host", "options", "is_accepted"), CASES)
def test_queues_verify_the_certificate_and_the_name_of_rabbitmq_unless_the_url_says_otherwise(
    host: str, options: str, is_accepted: bool
) -> None:
    def serve(listening: socket.socket) -> None:
        with suppress(OSError), with_tls().wrap_socket(listening.accept()[0], server_side=True) as connection:
            connection.recv(8)

    with socket.create_server((host, 0)) as listening:
        thread = Thread(target=serve, args=(listening,))
        thread.start()
        port = listening.getsockname()[1]
        wanted = broker.connection_of(f"amqps://u:p@{host}:{port}/v?heartbeat=5&{options}")
        assert wanted["broker_url"] == f"amqps://u:p@{host}:{port}/v?heartbeat=5"
        transport = amqp.Transport(f"{host}:{port}", connect_timeout=20, ssl=wanted["broker_use_ssl"])
        if is_accepted:
            transport.connect()
            transport.close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                transport.connect()
        thread.join(20)
    assert not thread.is_alive()


def test_a_broker_without_tls_is_used_as_its_url_says() -> None:
    for url in ("redis://:p@redis.example/0", "amqp://u:p@rabbitmq.example//"):
        assert broker.connection_of(url) == {"broker_url": url}


def test_a_task_carries_the_id_of_the_request_that_it_comes_from() -> None:
    app = Celery(broker="memory://")
    ids: list[object] = []

    @app.task
    def work() -> None:
        with broker.request_of(app.current_task):
            ids.append(get_contextvars().get("request_id"))

    with bound_contextvars(request_id="order-66"):
        work.delay()
    by_beat = work.delay()
    with app.connection() as connection, connection.SimpleQueue("celery") as queue:
        for message in (queue.get(timeout=5), queue.get(timeout=5)):
            # As a worker does it.
            build_tracer(work.name, work, app=app)(message.headers["id"], (), {}, message.headers)
    work()
    assert ids == ["order-66", by_beat.id, None]
