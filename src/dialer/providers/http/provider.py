"""The provider: asks one platform for calls by signed HTTP requests, and reads the reports that it posts back.

In: the contract's calls. Out: what the platform surely said. Each request is sent once; without a response after it
began to leave it is unclear.
"""

from collections.abc import Callable, Mapping, Sequence

from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.errors import Unavailable
from dialer.providers.base import (
    Absent,
    CallHandle,
    CallRequest,
    LookupFailed,
    LookupResult,
    OnEvents,
    OnLinkState,
    Placement,
    ProviderEnvironment,
    Refused,
    Unclear,
    WebhookRequest,
)
from dialer.providers.http import requests
from dialer.providers.http.config import HttpConfig, call_url
from dialer.providers.http.events import names_attempt, read_reports, read_sighting
from dialer.providers.http.signing import Signer
from dialer.providers.http_client import HttpClient, HttpFailure, HttpResponse

MAX_CONNECTIONS = 100
HEADERS = {"user-agent": "Dialer", "accept": "application/json"}
NO_PUBLIC_URL = "DIALER_PUBLIC_URL is not set, so the platform could not be told where to report"


class HttpPlatform:
    """A trunk's way to its platform. Implements `Provider` and `ReportsByWebhook`."""

    def __init__(self, trunk_id: TrunkId, config: HttpConfig, signer: Signer, environment: ProviderEnvironment) -> None:
        self._config = config
        self._signer = signer
        self._clock = environment.clock
        self._egress = environment.egress
        self._client = HttpClient(
            config.url,
            config.look_up_url,
            config.hang_up_url,
            config.health_url,
            timeout_seconds=config.timeout_seconds,
            egress=environment.egress,
            headers=HEADERS,
            max_connections=MAX_CONNECTIONS,
        )
        self._report_url = environment.public_url and f"{environment.public_url}/v1/providers/http/{trunk_id}/events"

    async def place(self, request: CallRequest) -> Placement:
        if self._report_url is None:
            return Refused(RefusalCause.NO_PUBLIC_URL, CauseClass.INFRASTRUCTURE)
        now = self._clock()
        reply = await self._post(
            self._config.url,
            str(request.attempt_id),
            now,
            requests.encode_request(request, now, self._report_url),
            headers={"idempotency-key": str(request.attempt_id)},
            may_leave=lambda: self._clock() < request.stale_at(now),
        )
        if isinstance(reply, HttpFailure):
            failed = reply.placement()
            return Unclear(f"asked for the call, {failed.reason}") if isinstance(failed, Unclear) else failed
        return requests.placement(reply, request.attempt_id, self._clock())

    async def look_up(self, call: CallHandle) -> LookupResult:
        """Believe a 404 only when it names the attempt: that of a wrong URL would have the contact called again."""
        if self._config.look_up_url is None:
            return LookupFailed("its trunk has no look_up_url")
        url = call_url(self._config.look_up_url, call.attempt_id)
        match await self._get(url, f"look_up:{call.attempt_id}"):
            case HttpFailure() as failure:
                return LookupFailed(f"looked up, {failure.reason}")
            case HttpResponse(200, body) if body is not None:
                return read_sighting(body, call)
            case HttpResponse(404, body) if names_attempt(body, call.attempt_id):
                return Absent()
            case HttpResponse(404):
                return LookupFailed("the look-up's 404 does not name the attempt: a wrong URL?")
            case HttpResponse(status):
                return LookupFailed(f"the look-up was answered {status}, or not to its end")

    async def hang_up(self, call: CallHandle) -> None:
        if self._config.hang_up_url is None:
            raise Unavailable("The trunk has no hang_up_url, so its calls cannot be hung up")
        url = call_url(self._config.hang_up_url, call.attempt_id)
        reply = await self._post(url, f"hang_up:{call.attempt_id}", self._clock(), requests.encode_hang_up(call))
        if isinstance(reply, HttpFailure):
            raise Unavailable(f"The platform did not say that the call is over: {reply.reason}")
        if not requests.is_hung_up(reply.status):
            raise Unavailable(f"The platform did not end the call: it answered {reply.status}")

    async def health(self) -> str | None:
        if self._report_url is None:
            return NO_PUBLIC_URL
        if self._config.health_url is None:
            return await requests.reach(self._config.url, self._config.timeout_seconds, self._egress)
        return requests.health(await self._get(self._config.health_url, "health"))

    async def listen(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        """Return at once: the platform reports by HTTP."""

    def read_reports(self, request: WebhookRequest) -> Sequence[CallEvent]:
        self._signer.prove(request)
        return read_reports(request.body)

    async def close(self) -> None:
        await self._client.close()

    async def _get(self, url: str, message_id: str) -> HttpResponse | HttpFailure:
        """Send a signed GET. A signature covers no URL, so the message's id names what is asked."""
        headers = self._signer.headers(message_id, self._clock(), b"")
        return _status_known(await self._client.send("GET", url, headers=headers))

    async def _post(
        self,
        url: str,
        message_id: str,
        now: DateTime,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        may_leave: Callable[[], bool] = lambda: True,
    ) -> HttpResponse | HttpFailure:
        """Send signed JSON, once."""
        signed = self._signer.headers(message_id, now, body)
        headers = {"content-type": "application/json", **signed, **(headers or {})}
        return _status_known(await self._client.send("POST", url, headers=headers, content=body, may_leave=may_leave))


def _status_known(reply: HttpResponse | HttpFailure) -> HttpResponse | HttpFailure:
    """Take a response whose body is missing for a response: its status counts."""
    return reply.partial or reply if isinstance(reply, HttpFailure) else reply
