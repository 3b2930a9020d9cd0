"""The provider for FreeSWITCH, over its Event Socket.

In: the methods of the provider contract. Out: only what FreeSWITCH surely said. One kept-alive connection places calls,
another asks; each `listen` has its own. The attempt's id is the uuid of its channel, by which the call is found while
it is up; FreeSWITCH keeps no records of ended calls.
"""

import asyncio
from collections.abc import AsyncGenerator

from dialer.domain.ids import TrunkId
from dialer.errors import Unavailable
from dialer.providers.base import (
    CallHandle,
    CallRequest,
    LookupFailed,
    LookupResult,
    NotFoundNow,
    OnEvents,
    OnLinkState,
    Placement,
    ProviderEnvironment,
    Seen,
)
from dialer.providers.event_source import Received, follow
from dialer.providers.freeswitch import event_socket, events, responses
from dialer.providers.freeswitch.config import FreeSwitchConfig
from dialer.providers.freeswitch.esl import EslConnection, read_event
from dialer.providers.freeswitch.event_socket import ListeningConnection, connect
from dialer.providers.freeswitch.events import ChannelEventReader
from dialer.providers.freeswitch.requests import originate
from dialer.providers.freeswitch.responses import PlacingConnection
from dialer.providers.shared_connection import SharedConnection
from dialer.providers.switches import has_restarted

NO_CHANNEL = "-ERR No such channel!"


class FreeSwitch:
    """One trunk's connection to one FreeSWITCH. Implements `Provider`."""

    def __init__(self, trunk_id: TrunkId, config: FreeSwitchConfig, environment: ProviderEnvironment) -> None:
        self._trunk_id = trunk_id
        self._config = config
        self._clock = environment.clock
        self._egress = environment.egress
        self._password = environment.secret(config.password)
        if not self._password.isprintable():
            raise Unavailable("The password for FreeSWITCH must be one line without control characters")
        self._placing = SharedConnection(self._open_placing)
        self._asking = SharedConnection(self._open_asking)

    async def place(self, request: CallRequest) -> Placement:
        return await responses.place(
            self._placing,
            lambda now: originate(request, self._config, self._trunk_id, now),
            request,
            self._clock,
            self._config.timeout_seconds,
        )

    async def look_up(self, call: CallHandle) -> LookupResult:
        uuid = str(call.attempt_id)
        try:
            exists = await self._ask(f"uuid_exists {uuid}")
            if exists == "false":
                uptime = await self._ask("uptime s")
                up_seconds = int(uptime) if uptime.isdecimal() else None
                return NotFoundNow(has_restarted(up_seconds, call, self._clock()))
            if exists != "true":
                return LookupFailed("FreeSWITCH did not say whether the channel exists")
            return self._seen(uuid, await self._ask(f"uuid_dump {uuid}"))
        except (OSError, Unavailable) as error:
            return LookupFailed(str(error))

    async def hang_up(self, call: CallHandle) -> None:
        try:
            reply = await self._ask(f"uuid_kill {call.attempt_id}")
        except OSError as error:
            raise Unavailable(f"FreeSWITCH could not be asked to hang up: {error}") from error
        if not reply.startswith("+OK") and reply != NO_CHANNEL:
            raise Unavailable("FreeSWITCH did not say that it has hung up")

    async def health(self) -> str | None:
        try:
            connection = await self._open_asking()
        except Unavailable as error:
            return str(error)
        try:
            async with asyncio.timeout(self._config.timeout_seconds):
                return await self._problem(connection)
        except TimeoutError:
            return f"FreeSWITCH at {self._config.address} let us in and does not answer"
        except (OSError, Unavailable) as error:
            return f"FreeSWITCH at {self._config.address} cannot be asked: {error}"
        finally:
            await connection.close()

    async def listen(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        """Hand over events until cancelled, or until `on_events` raises: look-ups find what was lost then."""

        def receive() -> AsyncGenerator[Received, None]:
            reader = ChannelEventReader(self._trunk_id, self._config.machine)
            return event_socket.receive(self._open_listening, reader, self._config.timeout_seconds)

        await follow(receive, on_events, on_link_state)

    async def close(self) -> None:
        await self._placing.close()
        await self._asking.close()

    async def _open_placing(self) -> PlacingConnection:
        return await connect(self._config, self._password, PlacingConnection, responses.EVENTS, self._egress)

    async def _open_asking(self) -> EslConnection:
        return await connect(self._config, self._password, EslConnection, "", self._egress)

    async def _open_listening(self) -> ListeningConnection:
        return await connect(self._config, self._password, ListeningConnection, events.EVENTS, self._egress)

    async def _ask(self, command: str) -> str:
        """Return the answer to a command that is safe to repeat; raises OSError or Unavailable."""
        connection = await self._asking.get()
        with connection.used():
            try:
                async with asyncio.timeout(self._config.timeout_seconds):
                    return (await connection.send(f"api {command}")).reply
            except TimeoutError as error:
                connection.retire()
                raise TimeoutError(f"no answer within {self._config.timeout_seconds:g} seconds") from error

    def _seen(self, uuid: str, dump: str) -> LookupResult:
        if dump == NO_CHANNEL:
            return NotFoundNow()
        fields = read_event(dump).fields
        try:
            if fields["Unique-ID"] != uuid:
                return LookupFailed("FreeSWITCH told of another channel")
            return Seen(uuid, tuple(events.history_of(fields, self._config.machine)))
        except (ArithmeticError, LookupError, ValueError):
            return LookupFailed("what FreeSWITCH says of the channel cannot be read")

    async def _problem(self, connection: EslConnection) -> str | None:
        """Return why no calls can be placed; None: they can."""
        status = (await connection.send("api status")).reply
        if not status.startswith("UP") or "is ready" not in status:
            return f"FreeSWITCH at {self._config.address} is not ready"
        if (await connection.send("api fsctl pause_check outbound")).reply == "true":
            return f"FreeSWITCH at {self._config.address} makes no outbound calls: fsctl resume outbound ends its pause"
        if self._config.gateway is None:
            return None
        gateway = (await connection.send(f"api sofia status gateway {self._config.gateway}")).reply
        return _gateway_problem(self._config.gateway, gateway)


def _gateway_problem(name: str, reply: str) -> str | None:
    lines = [line.split(None, 1) for line in reply.splitlines()]
    fields = {line[0]: line[1] for line in lines if len(line) == 2}
    if reply.startswith("Invalid Gateway"):
        return f"FreeSWITCH has no gateway {name}: see the dial string, and the gateways of its Sofia profiles"
    if "Status" not in fields:
        return f"FreeSWITCH does not say how its gateway {name} is"
    if not fields["Status"].startswith("UP"):
        return f"FreeSWITCH's gateway {name} is down (its state is {fields.get('State', 'not known')})"
    return None
