"""The provider: asks one platform for calls by signed HTTP requests, and reads the reports that it posts back.

In: the contract's calls. Out: what the platform surely said. Each request is sent once; what is not answered after the
body began to leave is unclear.
"""

from collections.abc import Sequence

from dialer.domain.call import CallEvent
from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import CauseClass
from dialer.errors import Unavailable
from dialer.providers.base import (
    TOO_LATE,
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
from dialer.providers.http import health
from dialer.providers.http.config import Config, of_call
from dialer.providers.http.events import is_of, read_reports, read_sighting
from dialer.providers.http.exchange import Answer, Exchange, Letter, NoAnswer, TooLate
from dialer.providers.http.hang_ups import encode_hang_up, is_hung_up
from dialer.providers.http.requests import encode_request, placement
from dialer.providers.http.signing import Signer

NO_PUBLIC_URL = "DIALER_PUBLIC_URL is not set, so the platform could not be told where to report"


class HttpPlatform:
    """A trunk's way to its platform. Implements `Provider` and `ReportsByWebhook`."""

    def __init__(self, trunk_id: TrunkId, config: Config, signer: Signer, around: ProviderEnvironment) -> None:
        self._config = config
        self._signer = signer
        self._clock = around.clock
        self._egress = around.egress
        self._exchange = Exchange(
            config.timeout_seconds,
            around.egress,
            config.url,
            config.look_up_url,
            config.hang_up_url,
            config.health_url,
        )
        self._report_url = around.public_url and f"{around.public_url}/v1/providers/http/{trunk_id}/events"

    async def place(self, request: CallRequest) -> Placement:
        if self._report_url is None:
            return Refused("public_url_not_set", CauseClass.INFRASTRUCTURE)
        now = self._clock()
        letter = Letter(encode_request(request, now, self._report_url), lambda: self._clock() < request.stale_at(now))
        key = str(request.attempt_id)
        headers = {**self._signer.headers(key, now, letter.content), "idempotency-key": key}
        try:
            reply = await self._exchange.post(self._config.url, headers, letter)
        except TooLate:
            return TOO_LATE
        if isinstance(reply, Answer):
            return placement(reply, request.attempt_id, self._clock())
        if reply.may_have_arrived:
            return Unclear(f"asked for the call, {reply.trouble.reason}")
        return Refused(reply.trouble.cause, CauseClass.INFRASTRUCTURE)

    async def look_up(self, call: CallHandle) -> LookupResult:
        """Believe a 404 only when it names the attempt: that of a wrong URL would have the contact called again."""
        if self._config.look_up_url is None:
            return LookupFailed("its trunk has no look_up_url")
        url = of_call(self._config.look_up_url, call.attempt_id)
        match await self._get(url, f"look_up:{call.attempt_id}"):
            case NoAnswer(trouble, _):
                return LookupFailed(f"looked up, {trouble.reason}")
            case Answer(200, body) if body is not None:
                return read_sighting(body, call)
            case Answer(404, body):
                named = is_of(body, call.attempt_id)
                return Absent() if named else LookupFailed("the look-up's 404 does not name the attempt: a wrong URL?")
            case Answer(status, _):
                return LookupFailed(f"the look-up was answered {status}, or not to its end")

    async def hang_up(self, call: CallHandle) -> None:
        if self._config.hang_up_url is None:
            raise Unavailable("The trunk has no hang_up_url, so its calls cannot be hung up")
        body = encode_hang_up(call)
        headers = self._signer.headers(f"hang_up:{call.attempt_id}", self._clock(), body)
        reply = await self._exchange.post(of_call(self._config.hang_up_url, call.attempt_id), headers, Letter(body))
        if isinstance(reply, NoAnswer):
            raise Unavailable(f"The platform did not say that the call is over: {reply.trouble.reason}")
        if not is_hung_up(reply.status):
            raise Unavailable(f"The platform did not end the call: it answered {reply.status}")

    async def health(self) -> str | None:
        if self._report_url is None:
            return NO_PUBLIC_URL
        if self._config.health_url is None:
            return await health.reach(self._config.url, self._config.timeout_seconds, self._egress)
        return health.verdict(await self._get(self._config.health_url, "health"))

    async def listen(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        """Return at once: the platform reports by HTTP."""

    def read_reports(self, posted: WebhookRequest) -> Sequence[CallEvent]:
        self._signer.prove(posted)
        return read_reports(posted.body)

    async def close(self) -> None:
        await self._exchange.close()

    async def _get(self, url: str, what: str) -> Answer | NoAnswer:
        """Ask for something. A signature covers no URL, so the message's id names what is asked."""
        return await self._exchange.get(url, self._signer.headers(what, self._clock(), b""))
