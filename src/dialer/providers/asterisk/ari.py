"""Requests to ARI over HTTP, each sent once.

In: method, path and JSON. Out: `AriResponse`, or the `HttpFailure` of the shared HTTP client.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pendulum import DateTime

from dialer.providers.egress import Egress
from dialer.providers.http_client import HttpClient, HttpFailure, printable


@dataclass(frozen=True, slots=True)
class AriResponse:
    """What came back, whole. `body`: its JSON; None where there is none that can be read. `retry_after`, `date`: the
    headers.
    """

    status: int
    body: Any
    retry_after: str | None = None
    date: str | None = None

    @property
    def message(self) -> str:
        """Asterisk's own words about a request that it refuses."""
        message = self.body.get("message", self.body.get("error")) if isinstance(self.body, dict) else None
        return printable(message) if isinstance(message, str) else ""

    @property
    def is_no_channel(self) -> bool:
        """Say whether Asterisk has no such channel; another 404 means that ARI is not there."""
        return self.status == 404 and "channel not found" in self.message.casefold()

    @property
    def is_no_application(self) -> bool:
        """Say whether no Stasis application of that name is connected."""
        return self.status == 404 and "application not found" in self.message.casefold()


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
        self._clock = clock
        self._client = HttpClient(url, timeout_seconds=timeout_seconds, egress=egress, headers=headers)

    async def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, not_after: DateTime | None = None
    ) -> AriResponse | HttpFailure:
        """Send one request, once, unless it is `not_after` or later when it would leave."""
        reply = await self._client.send(
            method,
            self._url + path,
            headers=None if body is None else {"Content-Type": "application/json"},
            content=None if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
            may_leave=lambda: not_after is None or self._clock() < not_after,
        )
        if isinstance(reply, HttpFailure):
            return reply
        headers = reply.headers
        return AriResponse(reply.status, _json(reply.body or b""), headers.get("retry-after"), headers.get("date"))

    async def close(self) -> None:
        await self._client.close()


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
