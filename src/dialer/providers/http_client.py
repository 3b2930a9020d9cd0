"""The HTTP client of all providers that speak HTTP.

In: one request. Out: `HttpResponse`, or `HttpFailure`, which says whether the request may have left. A request leaves
once or not at all: no retries, no redirects, no proxy; nothing of it is delivered after it was given up. What is read
is bounded, and so is the time.
"""

import asyncio
import base64
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore2
import httpx2
import pendulum
from pendulum import DateTime

from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.providers import sockets
from dialer.providers.base import TOO_LATE, Refused, Unclear
from dialer.providers.egress import THIS_MACHINE, AddressRefused, Egress

# Most servers close an idle connection after 5 seconds. A request sent in that very moment would be unclear.
KEEPALIVE_SECONDS = 4.0
CONNECT_SECONDS = 15.0
MAX_RETRY_AFTER_SECONDS = 600.0
MAX_CONNECTIONS = 20
MAX_BODY_BYTES = 1 << 20
MAX_QUOTE = 300
_SECONDS = re.compile("[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """`body`: as it came, not unpacked; None: not all of it came. `headers`: their names are case-insensitive."""

    status: int
    body: bytes | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HttpFailure:
    """There is no whole response.

    `reason`: a clause for people. `may_have_left`: the other side may have got the request. `partial`: status and
    headers, where only the body is missing: it broke off, came too slowly or is too long.
    """

    cause: RefusalCause
    reason: str
    may_have_left: bool
    partial: HttpResponse | None = None

    def placement(self) -> Refused | Unclear:
        """Say what this means for a call that was to be placed."""
        if self.may_have_left:
            return Unclear(self.reason)
        is_late = self.cause == TOO_LATE.cause
        return TOO_LATE if is_late else Refused(self.cause, CauseClass.INFRASTRUCTURE)


class _TooLate(Exception):
    """The request must not leave any more."""


class _BodyTooLarge(Exception):
    """The response is longer than any that the network has."""


class HttpClient:
    """The kept-alive connections to one network, at `urls`. Belongs to the event loop that sends first.

    `timeout_seconds`: for a whole exchange, from connecting to the last byte. `headers`: go with every request.
    """

    def __init__(
        self,
        *urls: str | None,
        timeout_seconds: float,
        egress: Egress,
        headers: Mapping[str, str] | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._urls = urls
        self._timeout_seconds = timeout_seconds
        self._egress = egress
        self._headers = headers or {}
        self._max_connections = max_connections
        self._client: httpx2.AsyncClient | None = None

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        may_leave: Callable[[], bool] = lambda: True,
    ) -> HttpResponse | HttpFailure:
        """Send one request, once. `may_leave` is asked last, when the connection and its TLS have been waited for."""
        has_left = False
        partial: HttpResponse | None = None

        async def note_leaving(step: str, _: Mapping[str, Any]) -> None:
            nonlocal has_left
            if step.endswith("send_request_headers.started"):
                if not may_leave():
                    raise _TooLate
                has_left = True

        client = self._opened()  # Before the timeout starts: it reads the CA certificates from disk.
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                client.stream(
                    method, url, headers=headers, content=content, extensions={"trace": note_leaving}
                ) as response,
            ):
                partial = HttpResponse(response.status_code, None, response.headers)
                return HttpResponse(response.status_code, await _read(response), response.headers)
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, _TooLate, _BodyTooLarge) as error:
            cause, reason = explain(error, self._timeout_seconds)
            return HttpFailure(cause, reason, has_left, partial)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = open_client(
                *self._urls,
                timeout_seconds=self._timeout_seconds,
                max_connections=self._max_connections,
                # Not packed: a small body could become endless when it is unpacked.
                headers={"Accept-Encoding": "identity", **self._headers},
                egress=self._egress,
            )
        return self._client


async def _read(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _BodyTooLarge
    return bytes(body)


def split_url(url: str) -> SplitResult | None:
    """Split the URL of an HTTP API; None: it is not one, or has a host that urllib accepts and this client does not."""
    try:
        parts = urlsplit(url)
        httpx2.URL(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except (ValueError, httpx2.InvalidURL):
        return None
    return parts if is_usable else None


def basic_auth(username: str, password: str) -> dict[str, str]:
    """Return the header of HTTP's basic authentication."""
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def explain(error: BaseException, timeout_seconds: float) -> tuple[RefusalCause, str]:
    """Say why there was no response: the cause for the ledger, and a clause for people.

    What the other side sent is quoted in part at most.
    """
    if (explained := _explain_request(error, timeout_seconds)) is not None:
        return explained
    for link in _chain(error):
        if (explained := _explain_connection(link)) is not None:
            return explained
    if isinstance(error, httpx2.RemoteProtocolError):
        return RefusalCause.PROTOCOL_ERROR, f"what it answered is not HTTP, or broke off ({printable(str(error))})"
    return RefusalCause.NETWORK_UNREACHABLE, f"the connection failed ({type(error).__name__})"


def _explain_request(error: BaseException, timeout_seconds: float) -> tuple[RefusalCause, str] | None:
    match error:
        case _TooLate():
            return RefusalCause.TOO_LATE, "it was too late to send it"
        case _BodyTooLarge():
            return RefusalCause.PROTOCOL_ERROR, f"an answer of more than {MAX_BODY_BYTES} bytes"
        case httpx2.InvalidURL():
            return RefusalCause.WRONG_URL, "its URL cannot be read"
        case httpx2.ConnectTimeout() | httpx2.PoolTimeout():
            return RefusalCause.TIMED_OUT, "no connection in time"
        case httpx2.TimeoutException() | TimeoutError():
            return RefusalCause.TIMED_OUT, f"no answer within {timeout_seconds:g} seconds"
    return None


def _explain_connection(error: BaseException) -> tuple[RefusalCause, str] | None:
    match error:
        case ssl.SSLCertVerificationError():
            return RefusalCause.TLS_FAILED, f"its TLS certificate is not trusted ({error.verify_message})"
        case ssl.SSLError():
            return RefusalCause.TLS_FAILED, f"TLS failed ({error.reason or type(error).__name__})"
        case AddressRefused():
            return RefusalCause.NETWORK_UNREACHABLE, str(error)
        case ConnectionRefusedError():
            return RefusalCause.NETWORK_UNREACHABLE, "nothing listens there"
    return None


def printable(text: str) -> str:
    """Return what the other side sent so that it can be shown and stored."""
    return "".join(character for character in text[:MAX_QUOTE] if character.isprintable())


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it; a host with several addresses fails once for each."""
    waiting, seen = [error], set[int]()
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        members = link.exceptions if isinstance(link, BaseExceptionGroup) else ()
        waiting += [each for each in (link.__cause__, link.__context__, *members) if each is not None]


def trust(*urls: str | None) -> ssl.SSLContext:
    """Trust this system's CA certificates, where any of these URLs uses TLS. SSL_CERT_FILE names others.

    Loading them takes longer than most requests: where there is no TLS, a context that trusts nobody will do.
    """
    if any(url and url.startswith(("https:", "wss:")) for url in urls):
        return httpx2.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def open_client(
    *urls: str | None,
    timeout_seconds: float,
    max_connections: int,
    headers: Mapping[str, str] | None = None,
    egress: Egress = THIS_MACHINE,
) -> httpx2.AsyncClient:
    """Make a client with kept-alive connections; it belongs to the event loop that uses it first.

    `timeout_seconds`: for each step; connecting has half of it, so that time is left for the response. `egress`: where
    it may connect to.
    """
    pool = httpcore2.AsyncConnectionPool(
        ssl_context=trust(*urls),
        max_connections=max_connections,
        keepalive_expiry=KEEPALIVE_SECONDS,
        network_backend=_Backend(egress),
        socket_options=sockets.options(timeout_seconds),
    )
    timeout = httpx2.Timeout(timeout_seconds, connect=timeout_seconds / 2)
    # No proxy from the environment: it could send a request twice, or deliver one that was given up here (P1).
    return httpx2.AsyncClient(transport=_Transport(pool), trust_env=False, timeout=timeout, headers=headers)


class _Transport(httpx2.AsyncHTTPTransport):
    """httpx's transport with our connection pool, for which its constructor has no argument."""

    def __init__(self, pool: httpcore2.AsyncConnectionPool) -> None:
        self._pool = pool


class _Backend(httpcore2.AnyIOBackend):
    """Connects only to addresses that `Egress` permits."""

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
    """A connection that is reset when it is closed while a request on it has no response."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if received := await self._stream.read(max_bytes, timeout):
            sockets.reset_on_close(self.get_extra_info("socket"), False)
        return received

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
            # httpcore leaves the socket open when the handshake is cancelled.
            await self.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def retry_after(value: str | None, now: DateTime) -> float | None:
    """Read a header Retry-After (RFC 9110, 10.2.3): seconds or a date, at most ten minutes. None: it cannot be read."""
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
