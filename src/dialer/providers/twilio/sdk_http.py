"""One request to Twilio's API and its answer: the HTTP client under Twilio's own library.

In: what the library wants to ask. Out: the answer, or `NotSent` (nothing has left this machine) or `NoAnswer` (it may
have arrived). Nothing is sent twice, no redirect is followed, and no answer is read without end.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
from twilio.http import AsyncHttpClient
from twilio.http.response import Response

from dialer.providers.base import TOO_LATE
from dialer.providers.egress import Egress
from dialer.providers.http_client import open_client

LONGEST_ANSWER_BYTES = 1 << 20
CONNECTIONS = 20


class NotSent(Exception):
    """The request did not leave: `cause` in one word, the message in plain words."""

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


class NoAnswer(Exception):
    """The request may have arrived, and has no answer that can be read."""


class Line:
    """A trunk's connections, kept alive and shared. Opened when first used, by the event loop that uses them."""

    def __init__(self, base_url: str | None, timeout_seconds: float, egress: Egress) -> None:
        self.base_url = base_url
        self.timeout_seconds = timeout_seconds
        self._egress = egress
        self._client: httpx2.AsyncClient | None = None

    @property
    def client(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = open_client(
                self.base_url or "https:",
                timeout_seconds=self.timeout_seconds,
                max_connections=CONNECTIONS,
                egress=self._egress,
            )
        return self._client

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class Exchange(AsyncHttpClient):  # type: ignore[misc]  # the library brings no types
    """Sends one request. `may_leave` is asked at the last moment before it does. `retry_after`: that header of the
    answer, which the library's errors leave out.
    """

    def __init__(self, line: Line, may_leave: Callable[[], bool] = lambda: True) -> None:
        super().__init__(logging.getLogger(__name__), is_async=True)
        self._line = line
        self._may_leave = may_leave
        self._has_left = False
        self.retry_after: str | None = None

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002  # as the library has it; ours is the line's
        allow_redirects: bool = False,  # noqa: ARG002  # as the library has it; none is followed
    ) -> Response:
        client = self._line.client  # before the clock runs: whom to trust is read from disk
        try:
            async with asyncio.timeout(self._line.timeout_seconds):
                return await self._exchange(client, method, self._addressed(url), params, data, headers, auth)
        except (TimeoutError, httpx2.TimeoutException) as error:
            reason = f"no answer within {self._line.timeout_seconds:g} seconds"
            raise self._failure("connect_timeout", reason) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            cause = "tls_failed" if _is_of_tls(error) else "network_unreachable"
            raise self._failure(cause, str(error) or type(error).__name__) from error

    async def _exchange(
        self, client: httpx2.AsyncClient, method: str, url: str, params: Any, data: Any, headers: Any, auth: Any
    ) -> Response:
        # Not packed: an answer's size is known before it is unpacked.
        plain = {**(headers or {}), "Accept-Encoding": "identity"}
        traced = {"trace": self._trace}
        async with client.stream(
            method, url, params=params, data=data, headers=plain, auth=auth, extensions=traced
        ) as answer:
            self.retry_after = answer.headers.get("retry-after")
            body = await _read(answer)
            return Response(answer.status_code, body.decode("utf-8", "replace"), dict(answer.headers))

    async def _trace(self, event: str, _: Mapping[str, Any]) -> None:
        """Note that the request leaves."""
        if event.endswith("send_request_headers.started"):
            if not self._may_leave():
                raise NotSent(TOO_LATE.cause, "it was too late to send it")
            self._has_left = True

    def _addressed(self, url: str) -> str:
        return url if self._line.base_url is None else self._line.base_url + urlsplit(url).path

    def _failure(self, cause: str, reason: str) -> NotSent | NoAnswer:
        return NoAnswer(reason) if self._has_left else NotSent(cause, reason)


async def _read(answer: httpx2.Response) -> bytes:
    body = bytearray()
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > LONGEST_ANSWER_BYTES:
            raise NoAnswer(f"an answer of more than {LONGEST_ANSWER_BYTES} bytes")
    return bytes(body)


def _is_of_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
