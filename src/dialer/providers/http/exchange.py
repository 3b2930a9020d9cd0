"""One HTTP request and its answer, over kept-alive connections.

In: a request. Out: an `Answer`, or `NoAnswer` that says whether the request may have arrived. A request is sent once:
no retries, no redirects. What is read is bounded, and so is the time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace

import httpx2

from dialer.providers.egress import Egress
from dialer.providers.http.trouble import Trouble, trouble
from dialer.providers.http_client import open_client

LONGEST_ANSWER = 256 * 1024
MAX_CONNECTIONS = 100
# Most servers close an idle connection after 5 seconds; when it is used again in that very moment, a call is unclear.
KEEPALIVE_SECONDS = 4.0
HEADERS = {"user-agent": "Dialer", "accept": "application/json", "accept-encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` None: it broke off, came too slowly, or is too long. `retry_after`: that header, as it came."""

    status: int
    body: bytes | None
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    trouble: Trouble
    may_have_arrived: bool


class TooLate(Exception):
    """The body was to leave when it must not any more."""


class Letter:
    """A body that notes when it begins to leave. Until then nothing can have arrived that a server could act on."""

    def __init__(self, content: bytes, may_leave: Callable[[], bool] = lambda: True) -> None:
        self.content = content
        self.has_left = False
        self._may_leave = may_leave

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not self._may_leave():
            raise TooLate
        self.has_left = True
        yield self.content


class Exchange:
    """The connections to one platform, at these URLs; belongs to the event loop that first asks."""

    def __init__(self, timeout_seconds: float, egress: Egress, *urls: str | None) -> None:
        self._seconds = timeout_seconds
        self._egress = egress
        self._urls = urls
        self._client: httpx2.AsyncClient | None = None

    async def get(self, url: str, headers: Mapping[str, str]) -> Answer | NoAnswer:
        return await self._ask("GET", url, headers, None)

    async def post(self, url: str, headers: Mapping[str, str], letter: Letter) -> Answer | NoAnswer:
        """Send a JSON body once. Raises TooLate when it may not leave: then it has not arrived."""
        # With a length, so that half a body cannot be taken for a whole one.
        length = {"content-type": "application/json", "content-length": str(len(letter.content))}
        return await self._ask("POST", url, {**headers, **length}, letter)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], letter: Letter | None) -> Answer | NoAnswer:
        answer: Answer | None = None
        client = self._connected()
        try:
            async with (
                asyncio.timeout(self._seconds),
                client.stream(method, url, headers=headers, content=letter) as response,
            ):
                answer = Answer(response.status_code, None, response.headers.get("retry-after"))
                answer = replace(answer, body=await _read(response))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return answer or NoAnswer(trouble(error, self._seconds), letter is None or letter.has_left)
        return answer

    def _connected(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = open_client(
                *self._urls,
                timeout_seconds=self._seconds,
                max_connections=MAX_CONNECTIONS,
                keepalive_seconds=KEEPALIVE_SECONDS,
                headers=HEADERS,
                egress=self._egress,
            )
        return self._client


async def _read(response: httpx2.Response) -> bytes | None:
    """Read the body as it came: not unpacked, for a small one could become endless."""
    found = bytearray()
    async for chunk in response.aiter_raw():
        found += chunk
        if len(found) > LONGEST_ANSWER:
            return None
    return bytes(found)
