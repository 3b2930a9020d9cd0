"""What the providers that speak HTTP have in common.

In: the URLs of a network, and how long an answer is waited for. Out: a client whose requests leave once or not at all:
no retries, no redirects, no proxy, and nothing is delivered after the request was given up.
"""

import re
import ssl
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore2
import httpx2
import pendulum
from pendulum import DateTime

from dialer.providers import sockets
from dialer.providers.egress import THIS_MACHINE, AddressRefused, Egress
from dialer.providers.tls import trust

KEEPALIVE_SECONDS = 5.0
CONNECT_SECONDS = 15.0
MAX_RETRY_AFTER_SECONDS = 600.0
_SECONDS = re.compile("[0-9]{1,9}", re.ASCII)


def open_client(
    *urls: str | None,
    timeout_seconds: float,
    max_connections: int,
    keepalive_seconds: float = KEEPALIVE_SECONDS,
    headers: Mapping[str, str] | None = None,
    egress: Egress = THIS_MACHINE,
) -> httpx2.AsyncClient:
    """Make a client with kept-alive connections; it belongs to the event loop that uses it first.

    `timeout_seconds`: for each step; connecting has half of it, so that an answer has its time too. Whoever wants the
    whole exchange to take no longer times that. `egress`: where it may connect to.
    """
    pool = httpcore2.AsyncConnectionPool(
        ssl_context=trust(*urls),
        max_connections=max_connections,
        keepalive_expiry=keepalive_seconds,
        network_backend=_Backend(egress),
        socket_options=sockets.options(timeout_seconds),
    )
    timeout = httpx2.Timeout(timeout_seconds, connect=timeout_seconds / 2)
    # No proxy of the environment: it could send again what must be sent once, and deliver what was given up here (P1).
    return httpx2.AsyncClient(transport=_Transport(pool), trust_env=False, timeout=timeout, headers=headers)


class _Transport(httpx2.AsyncHTTPTransport):
    """The library's transport over connections of ours, for which its constructor has no argument."""

    def __init__(self, pool: httpcore2.AsyncConnectionPool) -> None:
        self._pool = pool


class _Backend(httpcore2.AnyIOBackend):
    """Opens connections as the library does, to addresses that may be connected to."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        async def open_at(address: str) -> httpcore2.AsyncNetworkStream:
            return await super(_Backend, self).connect_tcp(address, port, None, local_address, socket_options)

        try:
            return _Stream(await self._egress.connect(host, port, timeout or CONNECT_SECONDS, open_at))
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except AddressRefused as error:
            raise httpcore2.ConnectError(str(error)) from error


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection that is reset when it is closed before what was written has had an answer."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if found := await self._stream.read(max_bytes, timeout):
            sockets.reset_on_close(self.get_extra_info("socket"), False)
        return found

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        sockets.reset_on_close(self.get_extra_info("socket"), True)
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            # The library leaves the socket open when the handshake is cancelled.
            await self.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def retry_after(value: str | None, now: DateTime) -> float | None:
    """Read a header Retry-After (RFC 9110, 10.2.3): seconds or a date, at most ten minutes. None: it says nothing."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value):
        seconds = float(value)
    else:
        try:
            seconds = (pendulum.instance(parsedate_to_datetime(value), tz="UTC") - now).total_seconds()
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
