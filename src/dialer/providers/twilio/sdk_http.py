"""Our HTTP client under Twilio's own library, as the library's `HttpClient`. One request each."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from twilio.base.exceptions import TwilioException
from twilio.http import AsyncHttpClient
from twilio.http.response import Response

from dialer.domain.outcomes import RefusalCause
from dialer.providers.http_client import HttpClient, HttpFailure, basic_auth
from dialer.providers.twilio.causes import API_ERRORS

T = TypeVar("T")

OK = 200
# What the library raises while it reads an answer of the wrong shape.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class NoSdkAnswer(Exception):
    """There is no answer that can be read; `failure` says whether the request may have left."""

    def __init__(self, failure: HttpFailure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class SdkHttpClient(AsyncHttpClient):  # type: ignore[misc]  # the library has no types
    """Sends one request of the library's. `may_leave` is asked at the last moment before it leaves.

    `retry_after`: that header of the answer, which the library's errors leave out.
    """

    def __init__(self, client: HttpClient, base_url: str | None, may_leave: Callable[[], bool] = lambda: True) -> None:
        super().__init__(logging.getLogger(__name__), is_async=True)
        self._client = client
        self._base_url = base_url
        self._may_leave = may_leave
        self.retry_after: str | None = None

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002  # the library's parameter; our client has its own timeout
        allow_redirects: bool = False,  # noqa: ARG002  # the library's parameter; our client follows none
    ) -> Response:
        reply = await self._client.send(
            method,
            self._addressed(url, params),
            headers={**(headers or {}), **(basic_auth(*auth) if auth else {})},
            content=str(httpx2.QueryParams(data)).encode() if data else None,
            may_leave=self._may_leave,
        )
        if isinstance(reply, HttpFailure):
            raise NoSdkAnswer(reply)
        self.retry_after = reply.headers.get("retry-after")
        return Response(reply.status, (reply.body or b"").decode("utf-8", "replace"), dict(reply.headers))

    def _addressed(self, url: str, params: Mapping[str, Any] | None) -> str:
        url = url if self._base_url is None else self._base_url + urlsplit(url).path
        return f"{url}?{httpx2.QueryParams(params)}" if params else url


async def readable(answer: Awaitable[T]) -> T:
    """Wait for what the library makes of an answer; raises NoSdkAnswer where it cannot be read."""
    try:
        return await answer
    except API_ERRORS:
        raise
    except TwilioException as error:
        # Of a page the library's message is the whole answer, which must not get into a log.
        status = next((arg.status_code for arg in error.args if isinstance(arg, Response)), OK)
        reason = f"Twilio answered http_{status}" if status != OK else "what answered is not Twilio's API"
        raise NoSdkAnswer(HttpFailure(RefusalCause.PROTOCOL_ERROR, reason, may_have_left=True)) from None
    except _UNREADABLE as error:
        reason = f"what answered is not Twilio's API ({type(error).__name__})"
        raise NoSdkAnswer(HttpFailure(RefusalCause.PROTOCOL_ERROR, reason, may_have_left=True)) from error
