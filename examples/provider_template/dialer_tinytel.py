"""A whole provider, as small as one can be: TinyTel, a made-up network with an API of three lines and a token.

POST /calls {id, to, from, ring_seconds, report_to} · GET /calls/ID {steps: [{id, step, at, result, talked}]} ·
DELETE /calls/ID. It posts each step to report_to, with `token` in the headers, and keeps its records.
"""

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import pendulum
from pydantic import Field

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import CauseClass, Outcome, RefusalCause
from dialer.errors import InvalidInput, NotSigned, Unavailable
from dialer.providers import base
from dialer.providers.http_client import HttpClient, HttpFailure, HttpResponse, retry_after
from dialer.providers.trunk_config import AgentConnection, TrunkConfig

INFRASTRUCTURE = CauseClass.INFRASTRUCTURE


class TinyTelConfig(TrunkConfig):
    """`token`: a reference to the environment, as in env:TRUNK_TINYTEL_TOKEN."""

    url: str
    token: str


class TinyTelConnection(AgentConnection):
    """`queue`: which of TinyTel's queues takes an answered call."""

    queue: str = Field(default="front", max_length=100)


class TinyTel:
    def __init__(self, config: TinyTelConfig, report_to: str, environment: base.ProviderEnvironment) -> None:
        self._url, self._report_to, self._clock = config.url, report_to, environment.clock
        self._token = environment.secret(config.token)
        self._client = HttpClient(
            config.url, timeout_seconds=5.0, egress=environment.egress, headers={"token": self._token}
        )

    async def place(self, request: base.CallRequest) -> base.Placement:
        now = self._clock()
        call = {"id": str(request.attempt_id), "to": request.to_number, "from": request.from_number}
        call |= {"ring_seconds": str(request.ring_seconds(now)), "report_to": self._report_to}
        reply = await self._send(
            "POST", "/calls", json.dumps(call).encode(), lambda: self._clock() < request.stale_at(now)
        )
        if isinstance(reply, HttpFailure):
            return reply.placement()  # Unclear where it may have left: never send it again
        match reply.status:
            case 201:
                return base.Placed(str(request.attempt_id))
            case 422:  # TinyTel's status for a number that does not exist
                return base.Refused(RefusalCause.INVALID_NUMBER, CauseClass.CONTACT)
            case 429:  # not a failure: TinyTel wants fewer calls a second
                wait = retry_after(reply.headers.get("retry-after"), self._clock())
                return base.Refused(RefusalCause.RATE_LIMITED, CauseClass.RATE, wait)
            case 401 | 403:
                return base.Refused(RefusalCause.WRONG_CREDENTIALS, INFRASTRUCTURE)
            case 404:
                return base.Refused(RefusalCause.WRONG_URL, INFRASTRUCTURE)
        return base.Unclear(f"TinyTel answered {reply.status}")

    async def look_up(self, call: base.CallHandle) -> base.LookupResult:
        reply = await self._send("GET", f"/calls/{call.attempt_id}")
        if isinstance(reply, HttpFailure):
            return base.LookupFailed(reply.reason)
        try:
            answer = json.loads(reply.body or b"")
            if reply.status == 404 and answer == {"never_was": str(call.attempt_id)}:
                return base.Absent()
            return base.Seen(str(call.attempt_id), [_event(step) for step in answer["steps"]])
        except (LookupError, TypeError, ValueError) as error:
            return base.LookupFailed(type(error).__name__)

    async def hang_up(self, call: base.CallHandle) -> None:
        reply = await self._send("DELETE", f"/calls/{call.attempt_id}")
        if isinstance(reply, HttpFailure):
            raise Unavailable(f"TinyTel did not say that the call is over: {reply.reason}")
        if reply.status not in (204, 404):
            raise Unavailable(f"TinyTel did not end the call: it answered {reply.status}")

    async def health(self) -> str | None:
        reply = await self._send("GET", "/")
        if isinstance(reply, HttpFailure):
            return f"TinyTel cannot be reached: {reply.reason}"
        return None if reply.status == 204 else f"TinyTel answers {reply.status}: is the token right?"

    async def listen(self, on_events: base.OnEvents, on_link_state: base.OnLinkState) -> None:
        """Return at once: TinyTel reports by HTTP."""

    def read_reports(self, request: base.WebhookRequest) -> Sequence[CallEvent]:
        if not hmac.compare_digest(request.headers.get("token", "").encode(), self._token.encode()):
            raise NotSigned("The token is wrong")
        try:
            return [_event(json.loads(request.body))]
        except (LookupError, TypeError, ValueError) as error:
            raise InvalidInput.of("body", f"cannot be read ({type(error).__name__})") from None

    async def close(self) -> None:
        await self._client.close()

    async def _send(
        self, method: str, path: str, body: bytes | None = None, may_leave: Callable[[], bool] = lambda: True
    ) -> HttpResponse | HttpFailure:
        headers = {"content-type": "application/json"} if body else None
        return await self._client.send(method, self._url + path, headers=headers, content=body, may_leave=may_leave)


def _event(step: Mapping[str, Any]) -> CallEvent:
    """Make the event; its key is the same whether the step is reported, reported again, or looked up."""
    kind, attempt_id = EventKind(step["step"]), AttemptId(UUID(step["id"]))
    at, call_id = pendulum.from_timestamp(step["at"]), str(attempt_id)
    if kind is not EventKind.ENDED:
        return CallEvent.of(attempt_id, kind, at, provider_call_id=call_id)
    outcome, talk_seconds = Outcome(step["result"]), float(step["talked"])
    return CallEvent.of(
        attempt_id,
        kind,
        at,
        outcome=outcome,
        cause=outcome.value,
        talk_seconds=talk_seconds,
        provider_call_id=call_id,
    )


def _connect(trunk_id: TrunkId, config: Mapping[str, Any], environment: base.ProviderEnvironment) -> TinyTel:
    if environment.public_url is None:
        raise Unavailable("DIALER_PUBLIC_URL is not set, so TinyTel could not be told where to report")
    report_to = f"{environment.public_url}/v1/providers/tinytel/{trunk_id}/events"
    return TinyTel(TinyTelConfig.parse(config), report_to, environment)


PLUGIN = base.ProviderPlugin(TinyTelConfig.parse, _connect, calls_per_second=10, connection=TinyTelConnection)
