"""Twilio's REST API, 2010-04-01: the few requests that a trunk needs. Each is sent once.

In: form fields and SIDs. Out: records of calls, checked for their shape. Raises ApiError for an error answer, NoAnswer
for none that can be read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from dialer.domain.outcomes import RefusalCause
from dialer.providers.http_client import HttpClient, HttpFailure, HttpResponse, basic_auth
from dialer.providers.twilio.config import TwilioConfig

PAGE = 50

T = TypeVar("T", bound=BaseModel)


class NoAnswer(Exception):
    """There is no answer that can be read; `failure` says whether the request may have left."""

    def __init__(self, failure: HttpFailure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class ApiError(Exception):
    """An error answer: its HTTP status, Twilio's own code and words if it has some, and its Retry-After."""

    def __init__(self, status: int, problem: "Problem", retry_after: str | None) -> None:
        super().__init__(f"http_{status}")
        self.status, self.code, self.retry_after = status, problem.code, retry_after
        self.text = problem.message or problem.detail or problem.title or "without a reason"


class Problem(BaseModel):
    """The body of an error answer: Twilio's own form, and that of RFC 9457."""

    code: int | None = None
    message: str | None = None
    detail: str | None = None
    title: str | None = None


class CallRecord(BaseModel):
    """What is used of a call's record. Times are as in RFC 2822, the duration is a number as text."""

    sid: str | None = None
    status: str | None = None
    to: str | None = None
    direction: str | None = None
    answered_by: str | None = None
    duration: str | None = None
    date_created: str | None = None
    date_updated: str | None = None
    start_time: str | None = None
    end_time: str | None = None


class _Page(BaseModel):
    calls: Sequence[CallRecord]


class _Account(BaseModel):
    status: Any = None


class TwilioApi:
    """The requests of one account."""

    def __init__(self, client: HttpClient, config: TwilioConfig, auth_token: str) -> None:
        self._client = client
        self._account = f"{config.api_url}/2010-04-01/Accounts/{config.account_sid}"
        self._headers = {"accept": "application/json", **basic_auth(config.account_sid, auth_token)}

    async def create_call(self, fields: Mapping[str, Any], may_leave: Callable[[], bool]) -> CallRecord:
        """Ask for a call. `may_leave` is asked at the last moment before the request leaves."""
        return await self._send(CallRecord, "POST", "/Calls", form=fields, may_leave=may_leave)

    async def call(self, sid: str) -> CallRecord:
        return await self._send(CallRecord, "GET", f"/Calls/{sid}")

    async def calls_between(self, to_number: str, from_number: str) -> Sequence[CallRecord]:
        """Return the newest page of the calls between two numbers."""
        query = {"To": to_number, "From": from_number, "PageSize": PAGE}
        return (await self._send(_Page, "GET", "/Calls", query=query)).calls

    async def end_call(self, sid: str, status: str) -> CallRecord:
        return await self._send(CallRecord, "POST", f"/Calls/{sid}", form={"Status": status})

    async def account_status(self) -> Any:
        return (await self._send(_Account, "GET", "")).status

    async def _send(
        self,
        shape: type[T],
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | None = None,
        may_leave: Callable[[], bool] = lambda: True,
    ) -> T:
        url = f"{self._account}{path}.json" + (f"?{httpx2.QueryParams(query)}" if query else "")
        content, headers = None, self._headers
        if form is not None:
            content = str(httpx2.QueryParams(form)).encode()
            headers = headers | {"content-type": "application/x-www-form-urlencoded"}
        reply = await self._client.send(method, url, headers=headers, content=content, may_leave=may_leave)
        if isinstance(reply, HttpFailure):
            raise NoAnswer(reply)
        return _read(shape, reply)


def _read(shape: type[T], reply: HttpResponse) -> T:
    body = reply.body or b""
    if not 200 <= reply.status < 300:
        raise ApiError(reply.status, _problem(body), reply.headers.get("retry-after"))
    try:
        return shape.model_validate_json(body)
    except ValidationError:
        # The message would contain the answer, which must not get into a log.
        reason = "what answered is not Twilio's API"
        raise NoAnswer(HttpFailure(RefusalCause.PROTOCOL_ERROR, reason, may_have_left=True)) from None


def _problem(body: bytes) -> Problem:
    try:
        return Problem.model_validate_json(body)
    except ValidationError:
        return Problem()
