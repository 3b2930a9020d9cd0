"""The provider for real time: a client of a simulated network in another process.

In: the methods of the provider contract. Out: the server's answers. One kept-alive connection carries all requests,
many at once; each `listen` has a connection of its own. No request is sent twice: without an answer it is unclear.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from itertools import count
from typing import Any, TypeVar

from pendulum import DateTime

from dialer.domain.ids import TrunkId
from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.errors import InvalidInput, Unavailable
from dialer.providers import sockets
from dialer.providers.base import (
    TOO_LATE,
    CallHandle,
    CallRequest,
    LookupFailed,
    LookupResult,
    OnEvents,
    OnLinkState,
    Placement,
    Refused,
    Unclear,
)
from dialer.providers.egress import THIS_MACHINE, Egress
from dialer.providers.event_source import LinkLost, Received, follow
from dialer.providers.shared_connection import LOST, SharedConnection
from dialer.providers.simulator import protocol
from dialer.providers.simulator.config import NetworkProfile

T = TypeVar("T")


class ClientConnection(protocol.JsonLines):
    """The client's end of a connection: requests without an answer yet, and received reports."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self.reports: asyncio.Queue[protocol.Message | None] = asyncio.Queue()
        self._resets = False

    async def ask(self, op: str, timeout: float, **fields: object) -> protocol.Message:
        """Send one request and wait for its answer; raises OSError without one, though it may have arrived."""
        if not self.is_usable:
            raise ConnectionResetError(LOST)
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.reset_on_close(True)
        try:
            self.send({"id": number, "op": op, **fields})
            return await _in_time(answer, timeout)
        finally:
            del self._waiting[number]

    def reset_on_close(self, on: bool) -> None:
        if on != self._resets:
            sockets.reset_on_close(self._transport.get_extra_info("socket"), on)
            self._resets = on

    def received(self, message: protocol.Message) -> None:
        if "reports" in message:
            self.reports.put_nowait(message)
            return
        answer = self._waiting.get(message.get("id", 0))
        if answer and not answer.done():
            answer.set_result(message)

    def refuse(self, _: str) -> None:
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.reports.put_nowait(None)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError(LOST))


class Simulator:
    """One trunk's connection to a simulated network at the profile's `url`. Implements `Provider`."""

    def __init__(
        self, trunk_id: TrunkId, profile: NetworkProfile, clock: Callable[[], DateTime], egress: Egress = THIS_MACHINE
    ) -> None:
        self._trunk_id = trunk_id
        self._profile = profile
        self._clock = clock
        self._egress = egress
        self._address = profile.address
        self._timeout = profile.timeout_seconds
        self._connections = SharedConnection(self._open)

    async def place(self, request: CallRequest) -> Placement:
        try:
            connection = await self._connections.get()
        except (OSError, Unavailable):
            return Refused(RefusalCause.NETWORK_UNREACHABLE, CauseClass.INFRASTRUCTURE)
        if self._clock() >= request.leave_by:
            return TOO_LATE
        try:
            answer = await connection.ask("place", self._timeout, request=protocol.encode_request(request))
            return protocol.decode_placement(answer)
        except (OSError, InvalidInput) as error:
            return Unclear(str(error))

    async def look_up(self, call: CallHandle) -> LookupResult:
        try:
            return protocol.decode_lookup_result(await self._ask("look_up", attempt_id=str(call.attempt_id)))
        except (OSError, Unavailable, InvalidInput) as error:
            return LookupFailed(str(error))

    async def hang_up(self, call: CallHandle) -> None:
        try:
            answer = await self._ask("hang_up", attempt_id=str(call.attempt_id))
        except OSError as error:
            raise Unavailable(f"The simulated network could not be asked to hang up: {error}") from error
        if "error" in answer:
            raise Unavailable(f"The simulated network did not hang up: {answer['error']}")

    async def health(self) -> str | None:
        try:
            await self._ask("health")
        except OSError as error:
            return f"The simulated network at {self._profile.url} does not answer: {error}"
        except Unavailable as error:
            return str(error)
        return None

    async def listen(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        """Hand over events until cancelled, or until `on_events` raises: those are sent again."""
        await follow(self._receive, on_events, on_link_state)

    async def close(self) -> None:
        await self._connections.close()

    async def _receive(self) -> AsyncGenerator[Received, None]:
        """Return when the connection is lost: that is no gap, since the network keeps what was not acknowledged."""
        try:
            connection = await self._open("subscribe")
        except (OSError, Unavailable) as error:
            raise LinkLost(str(error)) from error
        try:
            yield Received(is_up=True)
            while (message := await connection.reports.get()) is not None:
                deliveries, events = protocol.decode_reports(message)
                yield Received(events)
                connection.send({"op": "acknowledge", "deliveries": deliveries})
        finally:
            connection.close()
            await connection.gone

    async def _ask(self, op: str, **fields: object) -> protocol.Message:
        connection = await self._connections.get()
        return await connection.ask(op, self._timeout, **fields)

    async def _open(self, *ops: str) -> ClientConnection:
        """Connect, send hello and these ops; raises OSError, or Unavailable when the server refuses this trunk."""
        loop = asyncio.get_running_loop()
        host, port = self._address
        opening = self._egress.connect(
            host, port, self._timeout, lambda address: loop.create_connection(ClientConnection, address, port)
        )
        transport, connection = await _in_time(opening, self._timeout)
        for option in sockets.options(self._timeout):
            transport.get_extra_info("socket").setsockopt(*option)
        try:
            await self._greet(connection)
            for op in ops:
                await connection.ask(op, self._timeout)
        except BaseException:
            connection.abort()
            raise
        # All requests are answered; the acknowledgements that follow must arrive even if the connection is closed.
        connection.reset_on_close(False)
        return connection

    async def _greet(self, connection: ClientConnection) -> None:
        trunk_id, profile = str(self._trunk_id), self._profile.to_config()
        answer = await connection.ask("hello", self._timeout, trunk_id=trunk_id, profile=profile)
        if "error" in answer:
            raise Unavailable(f"The simulated network refuses this trunk: {answer['error']}")


async def _in_time(result: Awaitable[T], seconds: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await result
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {seconds:g} seconds") from error
