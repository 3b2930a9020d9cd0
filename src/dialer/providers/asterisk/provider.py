"""The provider: a trunk's way to an Asterisk.

In: the contract's calls. Out: what Asterisk surely said. Every attempt's channel bears the attempt's id, so that it can
be looked up, hung up and recognised by whoever knows the attempt; and an originate is sent once, whatever comes of it.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from pendulum import DateTime

from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.errors import Unavailable
from dialer.providers.asterisk.applications import Applications
from dialer.providers.asterisk.ari import Ari, AriResponse
from dialer.providers.asterisk.config import AsteriskConfig, Extension, Stasis
from dialer.providers.asterisk.event_socket import Listening
from dialer.providers.asterisk.events import Calls
from dialer.providers.asterisk.requests import originate
from dialer.providers.asterisk.responses import placement, placement_after_conflict, sentence, sighting, uptime
from dialer.providers.base import (
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
from dialer.providers.switches import NOT_PERMITTED

# The header that says how late it is there has no fractions, and an attempt is made a moment before its request leaves.
ROUNDING_SECONDS = 2.0
APP_MISSING = Refused(RefusalCause.STASIS_APP_NOT_CONNECTED, CauseClass.AGENT)


class Asterisk:
    """One trunk to one Asterisk. Implements `Provider`."""

    def __init__(
        self, config: AsteriskConfig, password: str, clock: Callable[[], DateTime], egress: Egress = THIS_MACHINE
    ) -> None:
        self._config = config
        self._clock = clock
        self._egress = egress
        self._headers = basic_auth(config.username, password)
        self._ari = Ari(config.url, self._headers, config.timeout_seconds, clock, egress)
        self._applications = Applications(self._ari, clock)

    async def place(self, request: CallRequest) -> Placement:
        destination = self._config.destination(request.connection)
        if destination is None:
            return NOT_PERMITTED
        if await self._missing_app(destination):
            return APP_MISSING
        now = self._clock()
        body = originate(request, self._config, destination, now)
        if isinstance(body, Refused):
            return body
        answer = await self._ari.ask("POST", "/channels", body, not_after=request.stale_at(now))
        found = placement(answer, request.attempt_id, self._clock())
        return found or placement_after_conflict(await self._look_up(request))

    async def missing_destination(self, connection: Mapping[str, Any]) -> str | None:
        app = await self._missing_app(self._config.destination(connection))
        return app and f"the Stasis application {app} is not connected to Asterisk"

    async def look_up(self, call: CallHandle) -> LookupResult:
        found = await self._look_up(call)
        return NotFoundNow(await self._has_restarted(call)) if isinstance(found, NotFoundNow) else found

    async def hang_up(self, call: CallHandle) -> None:
        answer = await self._ari.ask("DELETE", f"/channels/{call.attempt_id}")
        if not isinstance(answer, AriResponse) or not (answer.status in (200, 204) or answer.is_no_channel):
            raise Unavailable(f"The call was not hung up: {sentence(answer)}.")

    async def health(self) -> str | None:
        """Say whether ARI answers us, and whether the endpoint is there that all calls go through."""
        answer = await self._ari.ask("GET", "/asterisk/info?only=system")
        match answer:
            case AriResponse(200, {"system": dict()}):
                return await self._write_health() or await self._endpoint_health()
            case _:
                return f"{self._config.url}: {sentence(answer)}."

    async def _write_health(self) -> str | None:
        """Ask for something that changes nothing, as only a user who may write is let: no channel has this id."""
        answer = await self._ari.ask("DELETE", f"/channels/dialer-check-{secrets.token_hex(8)}")
        if isinstance(answer, AriResponse) and answer.is_no_channel:
            return None
        return f"{self._config.url}: {sentence(answer)}."

    async def listen(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        calls = Calls(self._config.machine_variable, self._clock)
        listening = Listening(self._config.url, self._headers, self._config.timeout_seconds, calls, egress=self._egress)
        await listening.run(on_events, on_link_state)

    async def close(self) -> None:
        await self._ari.close()

    async def _look_up(self, call: CallHandle | CallRequest) -> LookupResult:
        answer = await self._ari.ask("GET", f"/channels/{call.attempt_id}")
        return sighting(answer, call.attempt_id, self._clock())

    async def _has_restarted(self, call: CallHandle) -> bool:
        """Say whether Asterisk was surely started after this attempt was made: its channels are over then."""
        up_seconds = uptime(await self._ari.ask("GET", "/asterisk/info?only=status"))
        age = (self._clock() - call.created_at).total_seconds()
        return up_seconds is not None and up_seconds + ROUNDING_SECONDS < age

    async def _missing_app(self, destination: Extension | Stasis | None) -> str | None:
        if isinstance(destination, Stasis) and await self._applications.is_missing(destination.app):
            return destination.app
        return None

    async def _endpoint_health(self) -> str | None:
        """An originate to an endpoint that is not there is answered as if its id were in use: better told before."""
        technology, name = self._config.peer or (self._config.technology, None)
        answer = await self._ari.ask("GET", f"/endpoints/{technology}" + (f"/{quote(name, safe='')}" if name else ""))
        match answer:
            case AriResponse(200):
                return None
            case AriResponse(404) if name:
                return f"{self._config.url}: Asterisk has no endpoint {technology}/{name} (pjsip.conf)."
            case AriResponse(404):
                return f"{self._config.url}: Asterisk has no channels of the technology {technology}."
            case _:
                return f"{self._config.url}: {sentence(answer)}."
