"""Requests to ARI over HTTP, each sent once, on connections that are kept alive.

In: method, path and JSON. Out: `Answer`, `NotSent` when the request surely did not leave, or `Lost` when it may have
arrived. Nothing is raised for what the network does, nothing is ever sent twice, no redirect is followed.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from pendulum import DateTime

from dialer.providers.base import TOO_LATE
from dialer.providers.egress import Egress
from dialer.providers.http_client import open_client

LONGEST_ANSWER = 1 << 20
LONGEST_REASON = 300
# Asterisk takes 100 connections by default (sessionlimit) and closes idle ones after 15 s (session_keep_alive).
MOST_CONNECTIONS = 20
KEPT_ALIVE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole. `body`: its JSON; None where there is none that can be read. `retry_after`, `date`: the
    headers.
    """

    status: int
    body: Any
    retry_after: str | None = None
    date: str | None = None

    @property
    def message(self) -> str:
        """What Asterisk says of its refusal."""
        said = self.body.get("message", self.body.get("error")) if isinstance(self.body, dict) else None
        return printable(said) if isinstance(said, str) else ""

    @property
    def is_no_channel(self) -> bool:
        """Say whether Asterisk has no such channel; another 404 means that ARI is not there."""
        return self.status == 404 and "channel not found" in self.message.casefold()

    @property
    def is_no_application(self) -> bool:
        """Say whether no Stasis application of that name is connected."""
        return self.status == 404 and "application not found" in self.message.casefold()


@dataclass(frozen=True, slots=True)
class NotSent:
    """The request has not left. `cause`: in one word."""

    cause: str
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The request may have arrived, and there is no answer that can be relied on."""

    reason: str


Reply = Answer | NotSent | Lost


class _TooLate(Exception):
    """The moment has passed after which the request must not leave."""


class _TooLarge(Exception):
    """The answer is larger than any of ARI's."""


def basic(username: str, password: str) -> dict[str, str]:
    """Return the header that proves who we are. ARI takes it for WebSockets too, so that no URL holds a password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


class Ari:
    """One Asterisk's ARI. Belongs to the event loop that uses it first."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        timeout_seconds: float,
        clock: Callable[[], DateTime],
        egress: Egress,
    ) -> None:
        self._url = url
        self._headers = {**headers, "Accept-Encoding": "identity"}
        self._timeout = timeout_seconds
        self._clock = clock
        self._egress = egress
        self._opened: httpx2.AsyncClient | None = None

    async def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, not_after: DateTime | None = None
    ) -> Reply:
        """Send one request, once, unless it is later than `not_after` when it would leave."""
        has_left = False

        async def follow(step: str, _: Mapping[str, Any]) -> None:
            nonlocal has_left
            if step == "http11.send_request_headers.started":
                # All that waits, for a connection or its TLS, has been waited for.
                if not_after is not None and self._clock() >= not_after:
                    raise _TooLate
                has_left = True

        client = self._client()
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(client, method, path, body, follow)
        except _TooLate:
            return NotSent(TOO_LATE.cause, "it was too late to ask")
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, TimeoutError, _TooLarge) as error:
            reason = described(error, self._timeout)
            return Lost(reason) if has_left else NotSent(_cause(error), reason)

    async def close(self) -> None:
        if self._opened is not None:
            opened, self._opened = self._opened, None
            await opened.aclose()

    async def _exchange(
        self, client: httpx2.AsyncClient, method: str, path: str, body: Mapping[str, Any] | None, follow: object
    ) -> Answer:
        async with client.stream(method, self._url + path, json=body, extensions={"trace": follow}) as response:
            content = bytearray()
            async for part in response.aiter_raw():
                content += part
                if len(content) > LONGEST_ANSWER:
                    raise _TooLarge
            return Answer(
                response.status_code, _json(bytes(content)), *map(response.headers.get, ("retry-after", "date"))
            )

    def _client(self) -> httpx2.AsyncClient:
        if self._opened is None:
            self._opened = open_client(
                self._url,
                timeout_seconds=self._timeout,
                max_connections=MOST_CONNECTIONS,
                keepalive_seconds=KEPT_ALIVE_SECONDS,
                headers=self._headers,
                egress=self._egress,
            )
        return self._opened


def printable(text: str) -> str:
    """Return what the other side has said so that it can be shown and stored."""
    return "".join(character for character in text[:LONGEST_REASON] if character.isprintable())


def described(error: BaseException, timeout_seconds: float) -> str:
    """Say in a few words why there was no answer."""
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return f"no answer within {timeout_seconds:g} seconds"
    if isinstance(error, _TooLarge):
        return "the answer is larger than any of ARI's"
    if tls := _of(error, ssl.SSLError):
        return f"TLS failed ({getattr(tls, 'verify_message', None) or getattr(tls, 'reason', None) or tls})"
    if _of(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    return printable(str(error)) or type(error).__name__


def _cause(error: BaseException) -> str:
    return "tls_failed" if _of(error, ssl.SSLError) else "network_unreachable"


def _of(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    """Find the error of this kind that was the cause of another."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
