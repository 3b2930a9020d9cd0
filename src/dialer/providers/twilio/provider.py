"""A trunk's way to Twilio. Implements `Provider` and `ReportsByWebhook`.

In: the contract's calls. Out: requests to Twilio's REST API through its own library, over connections that are kept
alive; what it posts about the calls is read in `reports`. Nothing is asked twice.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pendulum import DateTime
from twilio.base.exceptions import TwilioException
from twilio.http.response import Response
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from dialer.domain.call import CallEvent
from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import CauseClass
from dialer.errors import Unavailable
from dialer.providers.base import (
    TOO_LATE,
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
    Refused,
    Seen,
    Unclear,
    WebhookRequest,
)
from dialer.providers.egress import THIS_MACHINE, Egress
from dialer.providers.http_client import retry_after
from dialer.providers.twilio import events, requests, sightings
from dialer.providers.twilio.causes import ENDED
from dialer.providers.twilio.config import Config
from dialer.providers.twilio.health import told_of_account, told_of_failure
from dialer.providers.twilio.refusals import API_ERRORS, CALL_IS_OVER, code_of, refusal, told
from dialer.providers.twilio.sdk_http import Exchange, Line, NoAnswer, NotSent

T = TypeVar("T")

OK = 200
NOT_FOUND = 404
# What reading an answer of the wrong shape raises inside the library.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
NO_PUBLIC_URL = "DIALER_PUBLIC_URL is not set: Twilio would have nowhere to report to"


class Twilio:
    """`public_url`: where Twilio reaches our API; without it no call is placed, for nobody would hear of it."""

    def __init__(
        self,
        trunk_id: TrunkId,
        config: Config,
        auth_token: str,
        clock: Callable[[], DateTime],
        public_url: str | None,
        egress: Egress = THIS_MACHINE,
    ) -> None:
        self._config = config
        self._auth_token = auth_token
        self._validator = RequestValidator(auth_token)
        self._clock = clock
        self._line = Line(config.api_base_url, config.timeout_seconds, egress)
        self._reports_to = public_url and f"{public_url}/v1/providers/twilio/{trunk_id}/events"

    async def place(self, request: CallRequest) -> Placement:
        if self._reports_to is None:
            return Refused("no_public_url", CauseClass.INFRASTRUCTURE)
        now = self._clock()
        fields = requests.fields(request, now, f"{self._reports_to}/{request.attempt_id}")
        if fields is None:
            return Refused("agent_has_no_url", CauseClass.INFRASTRUCTURE)
        exchange = Exchange(self._line, lambda: self._clock() < request.stale_at(now))
        try:
            return _placement(await _readable(self._api(exchange).calls.create_async(**fields)))
        except NotSent as error:
            return TOO_LATE if error.cause == TOO_LATE.cause else Refused(error.cause, CauseClass.INFRASTRUCTURE)
        except NoAnswer as error:
            return Unclear(str(error))
        except API_ERRORS as error:
            return refusal(error, retry_after(exchange.retry_after, self._clock()))

    async def look_up(self, call: CallHandle) -> LookupResult:
        try:
            if call.provider_call_id is not None:
                record = await _readable(self._api().calls(call.provider_call_id).fetch_async())
                return sightings.seen(call, record)
            ask = self._api().calls.page_async(to=call.to_number, from_=call.from_number, page_size=sightings.PAGE)
            is_early = self._is_early(call)
            return await _readable(_found(call, ask, is_early=is_early))
        except (NotSent, NoAnswer) as error:
            return LookupFailed(str(error))
        except API_ERRORS as error:
            is_gone = error.status == NOT_FOUND and call.provider_call_id is not None and code_of(error) is not None
            return Absent() if is_gone else LookupFailed(f"Twilio answered {told(error)}")

    async def hang_up(self, call: CallHandle) -> None:
        """`canceled` ends a call that was not answered yet, so that it counts as that; `completed` ends any."""
        sighting = await self.look_up(call)
        if isinstance(sighting, LookupFailed):
            raise Unavailable(f"Twilio could not say which call to hang up: {sighting.reason}")
        if isinstance(sighting, Candidates):
            raise Unavailable("It is not known yet which of Twilio's calls to hang up")
        if not isinstance(sighting, Seen) or sightings.is_over(sighting):
            return
        for status in ("canceled", "completed"):
            if await self._is_over_after(sighting.provider_call_id, status):
                return

    async def health(self) -> str | None:
        if self._reports_to is None:
            return NO_PUBLIC_URL
        try:
            account = await _readable(self._api().api.accounts(self._config.account_sid).fetch_async())
        except (NotSent, NoAnswer, *API_ERRORS) as error:
            return told_of_failure(error, self._config)
        return told_of_account(account)

    async def listen(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        """Return at once: Twilio reports by HTTP."""

    def read_reports(self, posted: WebhookRequest) -> Sequence[CallEvent]:
        return events.read(posted, self._validator)

    async def close(self) -> None:
        await self._line.close()

    def _api(self, exchange: Exchange | None = None) -> Any:
        """Make the library's client for one request. An environment of its own: it would read ours for a region."""
        return Client(
            self._config.account_sid,
            self._auth_token,
            http_client=exchange or Exchange(self._line),
            region=self._config.region,
            edge=self._config.edge,
            environment={"TWILIO_REGION": ""},
        )

    def _is_early(self, call: CallHandle) -> bool:
        wait = self._config.listed_after_seconds
        return wait > 0 and (self._clock() - call.created_at).total_seconds() < wait

    async def _is_over_after(self, sid: str, status: str) -> bool:
        """Ask for the call to be ended so; False where it has to be asked for in another way."""
        try:
            record = await _readable(self._api().calls(sid).update_async(status=status))
        except (NotSent, NoAnswer) as error:
            raise Unavailable(f"Twilio did not say that the call was hung up: {error}") from None
        except API_ERRORS as error:
            if error.status == NOT_FOUND:
                return True
            if code_of(error) == CALL_IS_OVER:
                # It is over, or was answered in the meantime, and only `completed` ends it.
                return status == "completed"
            raise Unavailable(f"Twilio did not hang up: {told(error)}") from None
        return status == "completed" or record.status in ENDED


async def _readable(asked: Awaitable[T]) -> T:
    """Wait for what the library makes of an answer; NoAnswer where it cannot be read."""
    try:
        return await asked
    except API_ERRORS:
        raise
    except TwilioException as error:
        # Of a page the library says what came only by what it carries: the whole answer, which is not for any log.
        status = next((one.status_code for one in error.args if isinstance(one, Response)), OK)
        reason = f"Twilio answered http_{status}" if status != OK else "what answered is not Twilio's API"
        raise NoAnswer(reason) from None
    except _UNREADABLE as error:
        raise NoAnswer(f"what answered is not Twilio's API ({type(error).__name__})") from error


async def _found(call: CallHandle, asked: Awaitable[Any], *, is_early: bool) -> LookupResult:
    return sightings.found(call, await asked, is_early=is_early)


def _placement(record: Any) -> Placement:
    sid = record.sid
    if isinstance(sid, str) and events.SID.fullmatch(sid):
        return Placed(sid)
    return Unclear("Twilio's answer bears no SID of a call")
