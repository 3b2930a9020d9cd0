"""The provider for Asterisk.

In: the methods of the provider contract. Out: only what Asterisk surely said. The channel of an attempt has the
attempt's id, so that it can be looked up, hung up and recognised. An originate is sent once, whatever the result.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any
from urllib.parse import quote

from pendulum import DateTime

from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.errors import Unavailable
from dialer.providers import event_source
from dialer.providers.asterisk import event_socket
from dialer.providers.asterisk.ari import Ari, AriResponse
from dialer.providers.asterisk.config import AsteriskConfig, Extension, Stasis
from dialer.providers.asterisk.events import AriEventReader
from dialer.providers.asterisk.requests import originate
from dialer.providers.asterisk.responses import error_text, lookup_result, placement, placement_after_conflict, uptime
from dialer.providers.base import (
    TOO_LATE,
    CallHandle,
    CallRequest,
    LookupResult,
    NotFoundNow,
    OnEvents,
    OnLinkState,
    Placement,
    Refused,
)
from dialer.providers.egress import THIS_MACHINE, Egress
from dialer.providers.http_client import basic_auth
from dialer.providers.switches import NOT_PERMITTED, has_restarted

# An answer about an application is reused for this long, so that many calls at once cause one request.
APPLICATION_SECONDS = 1.0
APP_MISSING = Refused(RefusalCause.STASIS_APP_NOT_CONNECTED, CauseClass.AGENT)


class Asterisk:
    """One trunk's connection to one Asterisk. Implements `Provider`."""

    def __init__(
        self, config: AsteriskConfig, password: str, clock: Callable[[], DateTime], egress: Egress = THIS_MACHINE
    ) -> None:
        self._config = config
        self._clock = clock
        self._egress = egress
        self._headers = basic_auth(config.username, password)
        self._ari = Ari(config.url, self._headers, config.timeout_seconds, clock, egress)
        self._applications = StasisApplications(self._ari, clock)

    async def place(self, request: CallRequest) -> Placement:
        destination = self._config.destination(request.connection)
        if destination is None:
            return NOT_PERMITTED
        if await self._missing_app(destination):
            return APP_MISSING
        now = self._clock()
        if now >= request.leave_by:
            return TOO_LATE
        body = originate(request, self._config, destination, now)
        if isinstance(body, Refused):
            return body
        answer = await self._ari.ask("POST", "/channels", body, not_after=request.stale_at(now))
        placed = placement(answer, request.attempt_id, self._clock())
        return placed or placement_after_conflict(await self._look_up(request))

    async def missing_destination(self, connection: Mapping[str, Any]) -> str | None:
        app = await self._missing_app(self._config.destination(connection))
        return app and f"the Stasis application {app} is not connected to Asterisk"

    async def look_up(self, call: CallHandle) -> LookupResult:
        result = await self._look_up(call)
        if not isinstance(result, NotFoundNow):
            return result
        up_seconds = uptime(await self._ari.ask("GET", "/asterisk/info?only=status"))
        return NotFoundNow(has_restarted(up_seconds, call, self._clock()))

    async def hang_up(self, call: CallHandle) -> None:
        answer = await self._ari.ask("DELETE", f"/channels/{call.attempt_id}")
        if not isinstance(answer, AriResponse) or not (answer.status in (200, 204) or answer.is_no_channel):
            raise Unavailable(f"The call was not hung up: {error_text(answer)}")

    async def health(self) -> str | None:
        """Check that ARI answers, that the user may write, and that the endpoint of all calls exists."""
        answer = await self._ari.ask("GET", "/asterisk/info?only=system")
        match answer:
            case AriResponse(200, {"system": dict()}):
                return await self._write_health() or await self._endpoint_health()
            case _:
                return f"{self._config.url}: {error_text(answer)}"

    async def _write_health(self) -> str | None:
        """Delete a channel that does not exist: it changes nothing, and needs the permission to write."""
        answer = await self._ari.ask("DELETE", f"/channels/dialer-check-{secrets.token_hex(8)}")
        if isinstance(answer, AriResponse) and answer.is_no_channel:
            return None
        return f"{self._config.url}: {error_text(answer)}"

    async def listen(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        reader = AriEventReader(self._config.machine_variable, self._clock)
        url, timeout_seconds = self._config.url, self._config.timeout_seconds

        def connect() -> AsyncGenerator[event_source.Received, None]:
            return event_socket.receive(url, self._headers, timeout_seconds, reader, egress=self._egress)

        await event_source.follow(connect, on_events, on_link_state)

    async def close(self) -> None:
        await self._ari.close()

    async def _look_up(self, call: CallHandle | CallRequest) -> LookupResult:
        answer = await self._ari.ask("GET", f"/channels/{call.attempt_id}")
        return lookup_result(answer, call.attempt_id, self._clock())

    async def _missing_app(self, destination: Extension | Stasis | None) -> str | None:
        if isinstance(destination, Stasis) and await self._applications.is_missing(destination.app):
            return destination.app
        return None

    async def _endpoint_health(self) -> str | None:
        """Check the endpoint now: Asterisk answers an originate to a missing one as if the id were in use (409)."""
        technology, name = self._config.peer or (self._config.technology, None)
        answer = await self._ari.ask("GET", f"/endpoints/{technology}" + (f"/{quote(name, safe='')}" if name else ""))
        match answer:
            case AriResponse(200):
                return None
            case AriResponse(404) if name:
                return f"{self._config.url}: Asterisk has no endpoint {technology}/{name} (pjsip.conf)"
            case AriResponse(404):
                return f"{self._config.url}: Asterisk has no channels of the technology {technology}"
            case _:
                return f"{self._config.url}: {error_text(answer)}"


class StasisApplications:
    """Whether Stasis applications are connected, asked before people are called for them.

    Asterisk would answer a call for an application that is not connected and drop it at once. Belongs to the event loop
    that uses it first.
    """

    def __init__(self, ari: Ari, clock: Callable[[], DateTime]) -> None:
        self._ari = ari
        self._clock = clock
        self._asking = asyncio.Lock()
        self._answers: dict[str, tuple[DateTime, bool]] = {}

    async def is_missing(self, app: str) -> bool:
        """Say whether it is surely not connected; if Asterisk does not say, the originate will."""
        async with self._asking:
            asked_at, is_missing = self._answers.get(app, (None, False))
            if asked_at is None or self._clock() >= asked_at.add(seconds=APPLICATION_SECONDS):
                answer = await self._ari.ask("GET", f"/applications/{app}")
                is_missing = isinstance(answer, AriResponse) and answer.is_no_application
                self._answers[app] = (self._clock(), is_missing)
            return is_missing
