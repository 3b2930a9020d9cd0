"""A whole provider, as small as one can be: TinyTel, a made-up network with an API of three lines and a token.

POST /calls {id, to, from, ring_seconds, report_to} · GET /calls/ID {steps: [{id, step, at, result, talked}]} ·
DELETE /calls/ID. It posts each step to report_to, with `token` in the headers, and keeps its records.
"""

import hmac
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx2
import pendulum

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.errors import FieldError, InvalidInput, NotSigned, Unavailable
from dialer.providers import base
from dialer.providers.http_client import open_client, retry_after

INFRASTRUCTURE = CauseClass.INFRASTRUCTURE
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class TooLate(Exception):
    """The request must not leave any more."""


class TinyTel:
    def __init__(self, url: str, token: str, report_to: str, around: base.ProviderEnvironment) -> None:
        self._url, self._token, self._report_to, self._clock = url, token, report_to, around.clock
        self._egress = around.egress
        self._opened: httpx2.AsyncClient | None = None  # made in the event loop that uses it

    async def place(self, request: base.CallRequest) -> base.Placement:
        now = self._clock()
        asked = {"id": str(request.attempt_id), "to": request.to_number, "from": request.from_number}
        asked |= {"ring_seconds": str(request.ring_seconds(now)), "report_to": self._report_to}
        content = json.dumps(asked).encode()
        headers = {"content-type": "application/json", "content-length": str(len(content))}
        try:
            body = self._body(content, request.stale_at(now))
            answer = await self._client.post(f"{self._url}/calls", content=body, headers=headers)
        except TooLate:
            return base.TOO_LATE
        except NOT_SENT:
            return base.Refused("network_unreachable", INFRASTRUCTURE)
        except httpx2.HTTPError as error:
            return base.Unclear(type(error).__name__)  # it may have arrived: never send it again
        match answer.status_code:
            case 201:
                return base.Placed(str(request.attempt_id))
            case 422:  # TinyTel's word for a number that does not exist
                return base.Refused("unallocated_number", CauseClass.CONTACT)
            case 429:  # not a failure: TinyTel wants fewer calls a second
                wait = retry_after(answer.headers.get("retry-after"), self._clock())
                return base.Refused("rate_limited", CauseClass.RATE, wait)
            case 401 | 403 | 404 as status:
                return base.Refused(f"http_{status}", INFRASTRUCTURE)
        return base.Unclear(f"TinyTel answered {answer.status_code}")

    async def look_up(self, call: base.CallHandle) -> base.LookupResult:
        try:
            answer = await self._client.get(f"{self._url}/calls/{call.attempt_id}")
            if answer.status_code == 404 and answer.json() == {"never_was": str(call.attempt_id)}:
                return base.Absent()
            return base.Seen(str(call.attempt_id), [_event(each) for each in answer.json()["steps"]])
        except (httpx2.HTTPError, LookupError, TypeError, ValueError) as error:
            return base.LookupFailed(type(error).__name__)

    async def hang_up(self, call: base.CallHandle) -> None:
        try:
            answer = await self._client.delete(f"{self._url}/calls/{call.attempt_id}")
        except httpx2.HTTPError as error:
            raise Unavailable(f"TinyTel did not say that the call is over: {type(error).__name__}") from None
        if answer.status_code not in (204, 404):
            raise Unavailable(f"TinyTel did not end the call: it answered {answer.status_code}")

    async def health(self) -> str | None:
        try:
            answer = await self._client.get(f"{self._url}/")
        except httpx2.HTTPError as error:
            return f"TinyTel cannot be reached: {type(error).__name__}"
        return None if answer.status_code == 204 else f"TinyTel answers {answer.status_code}: is the token right?"

    async def listen(self, on_events: base.OnEvents, on_link_state: base.OnLinkState) -> None:
        """Return at once: TinyTel reports by HTTP."""

    def read_reports(self, posted: base.WebhookRequest) -> Sequence[CallEvent]:
        if not hmac.compare_digest(posted.headers.get("token", "").encode(), self._token.encode()):
            raise NotSigned("The token is wrong")
        try:
            return [_event(json.loads(posted.body))]
        except (LookupError, TypeError, ValueError) as error:
            raise InvalidInput.of("body", f"cannot be read ({type(error).__name__})") from None

    async def close(self) -> None:
        if self._opened:
            await self._opened.aclose()

    async def _body(self, content: bytes, stale_at: pendulum.DateTime) -> AsyncIterator[bytes]:
        """Look at the clock when the connection is made and the body is about to leave."""
        if self._clock() >= stale_at:
            raise TooLate
        yield content

    @property
    def _client(self) -> httpx2.AsyncClient:
        if self._opened is None:
            headers = {"token": self._token}
            self._opened = open_client(
                self._url, timeout_seconds=5.0, max_connections=20, headers=headers, egress=self._egress
            )
        return self._opened


def _event(told: Mapping[str, Any]) -> CallEvent:
    """The key is the same whether a step is reported, reported again, or looked up."""
    kind, attempt_id = EventKind(told["step"]), AttemptId(UUID(told["id"]))
    at, key, call_id = pendulum.from_timestamp(told["at"]), f"{attempt_id}:{kind}", str(attempt_id)
    if kind is not EventKind.ENDED:
        return CallEvent(key, attempt_id, kind, at, provider_call_id=call_id)
    outcome = Outcome(told["result"])
    return CallEvent(key, attempt_id, kind, at, outcome, outcome.value, float(told["talked"]), call_id)


def _check(config: Mapping[str, Any]) -> None:
    wrong = [FieldError(name, "is not known") for name in config.keys() - {"url", "token"}]
    wrong += [FieldError(name, "must be a text") for name in ("url", "token") if not isinstance(config.get(name), str)]
    if wrong:
        raise InvalidInput(wrong)


def _connect(trunk_id: TrunkId, config: Mapping[str, Any], around: base.ProviderEnvironment) -> TinyTel:
    _check(config)
    if around.public_url is None:
        raise Unavailable("DIALER_PUBLIC_URL is not set, so TinyTel could not be told where to report")
    report_to = f"{around.public_url}/v1/providers/tinytel/{trunk_id}/events"
    return TinyTel(config["url"], around.secret(config["token"]), report_to, around)


PLUGIN = base.ProviderPlugin(_check, _connect, calls_per_second=10)
