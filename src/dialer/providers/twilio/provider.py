"""A trunk's way to Twilio. Implements `Provider` and `ReportsByWebhook`.

In: the contract's calls. Out: requests to Twilio's REST API, over connections that are kept alive; its status callbacks
are read in `events`. Nothing is sent twice.
"""

from collections.abc import Sequence

from dialer.domain.call import CallEvent
from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.errors import Unavailable
from dialer.providers.base import (
    Absent,
    CallHandle,
    CallRequest,
    Candidates,
    LookupFailed,
    LookupResult,
    OnEvents,
    OnLinkState,
    Placed,
    Placement,
    ProviderEnvironment,
    Refused,
    Seen,
    Unclear,
    WebhookRequest,
)
from dialer.providers.http_client import HttpClient, retry_after
from dialer.providers.twilio import causes, events, requests
from dialer.providers.twilio.api import ApiError, CallRecord, NoAnswer, TwilioApi
from dialer.providers.twilio.causes import describe
from dialer.providers.twilio.config import TwilioConfig

NO_PUBLIC_URL = "DIALER_PUBLIC_URL is not set: Twilio would have nowhere to report to"


class Twilio:
    """One trunk to one Twilio account. Without a public URL no call is placed: its end would not be reported."""

    def __init__(self, trunk_id: TrunkId, config: TwilioConfig, environment: ProviderEnvironment) -> None:
        self._config = config
        self._auth_token = environment.secret(config.auth_token)
        self._clock = environment.clock
        self._client = HttpClient(config.api_url, timeout_seconds=config.timeout_seconds, egress=environment.egress)
        self._api = TwilioApi(self._client, config, self._auth_token)
        public_url = environment.public_url
        self._callback_url = public_url and f"{public_url}/v1/providers/twilio/{trunk_id}/events"

    async def place(self, request: CallRequest) -> Placement:
        if self._callback_url is None:
            return Refused(RefusalCause.NO_PUBLIC_URL, CauseClass.INFRASTRUCTURE)
        now = self._clock()
        fields = requests.create_call(request, now, f"{self._callback_url}/{request.attempt_id}")
        if fields is None:
            return Refused(RefusalCause.AGENT_HAS_NO_URL, CauseClass.INFRASTRUCTURE)
        try:
            return _placement(await self._api.create_call(fields, lambda: self._clock() < request.stale_at(now)))
        except NoAnswer as error:
            return error.failure.placement()
        except ApiError as error:
            return causes.refusal(error, retry_after(error.retry_after, self._clock()))

    async def look_up(self, call: CallHandle) -> LookupResult:
        try:
            if call.provider_call_id is not None:
                return events.seen(call, await self._api.call(call.provider_call_id))
            page = await self._api.calls_between(call.to_number, call.from_number)
            return events.candidates(call, page, is_early=self._is_early(call))
        except NoAnswer as error:
            return LookupFailed(str(error))
        except ApiError as error:
            is_named = call.provider_call_id is not None and error.code is not None
            is_absent = error.status == causes.NOT_FOUND and is_named
            return Absent() if is_absent else LookupFailed(f"Twilio answered {describe(error)}")

    async def hang_up(self, call: CallHandle) -> None:
        """`canceled` ends a call that was not answered yet, so that it counts as that; `completed` ends any."""
        sighting = await self.look_up(call)
        if isinstance(sighting, LookupFailed):
            raise Unavailable(f"Twilio could not say which call to hang up: {sighting.reason}")
        if isinstance(sighting, Candidates):
            raise Unavailable("It is not known yet which of Twilio's calls to hang up")
        if not isinstance(sighting, Seen) or events.is_over(sighting):
            return
        for status in (causes.CANCELED, causes.COMPLETED):
            if await self._is_over_after(sighting.provider_call_id, status):
                return

    async def health(self) -> str | None:
        if self._callback_url is None:
            return NO_PUBLIC_URL
        try:
            return causes.account_health(await self._api.account_status())
        except NoAnswer as error:
            return causes.failure_health(error.failure, self._config)
        except ApiError as error:
            return causes.error_health(error, self._config)

    async def listen(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        """Return at once: Twilio reports by HTTP."""

    def read_reports(self, request: WebhookRequest) -> Sequence[CallEvent]:
        return events.read_report(request, self._auth_token)

    async def close(self) -> None:
        await self._client.close()

    def _is_early(self, call: CallHandle) -> bool:
        wait = self._config.listed_after_seconds
        return wait > 0 and (self._clock() - call.created_at).total_seconds() < wait

    async def _is_over_after(self, sid: str, status: str) -> bool:
        """Ask for the call to be ended with this status; False where it needs another one."""
        try:
            record = await self._api.end_call(sid, status)
        except NoAnswer as error:
            raise Unavailable(f"Twilio did not say that the call was hung up: {error}") from None
        except ApiError as error:
            if error.status == causes.NOT_FOUND:
                return True
            if error.code == causes.CALL_IS_OVER:
                # It is over, or was answered in the meantime, and only `completed` ends it.
                return status == causes.COMPLETED
            raise Unavailable(f"Twilio did not hang up: {describe(error)}") from None
        return status == causes.COMPLETED or record.status in causes.ENDED


def _placement(record: CallRecord) -> Placement:
    sid = record.sid
    if sid is not None and events.SID.fullmatch(sid):
        return Placed(sid)
    return Unclear("Twilio's answer has no SID of a call")
