"""The provider for real time: a client of a simulated network in another process.

In: the contract's calls. Out: what the server says of them. One kept-alive connection carries all that is asked, many
requests at once; each `listen` has a connection of its own. Nothing is asked twice: what is not answered is unclear.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
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
from dialer.providers.simulator import protocol
from dialer.providers.simulator.lines import JsonLines
from dialer.providers.simulator.profile import NetworkProfile

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0


class Connection(JsonLines):
    """The client's end: questions waiting for their answers, and the reports that have come."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self.reports: asyncio.Queue[protocol.Message | None] = asyncio.Queue()

    async def ask(self, op: str, timeout: float, **fields: object) -> protocol.Message:
        """Send one question and wait for its answer; raises OSError if there is none, though it may have arrived."""
        if not self.is_open:
            raise ConnectionResetError("the connection was lost")
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.reset_on_close(True)
        try:
            self.send({"id": number, "op": op, **fields})
            return await _in_time(answer, timeout)
        finally:
            del self._waiting[number]

    def reset_on_close(self, on: bool) -> None:
        sockets.reset_on_close(self._transport.get_extra_info("socket"), on)

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
                answer.set_exception(ConnectionResetError("the connection was lost"))


class Simulator:
    """A trunk's way to a simulated network behind the profile's `url`. Implements `Provider`."""

    def __init__(
        self, trunk_id: TrunkId, profile: NetworkProfile, clock: Callable[[], DateTime], egress: Egress = THIS_MACHINE
    ) -> None:
        self._trunk_id = trunk_id
        self._profile = profile
        self._clock = clock
        self._egress = egress
        self._address = profile.address
        self._timeout = profile.timeout_seconds
        # A connection belongs to its event loop, and a thread runs one loop at a time.
        self._here = threading.local()

    async def place(self, request: CallRequest) -> Placement:
        try:
            connection = await self._connected()
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
            return protocol.decode_sighting(await self._ask("look_up", attempt_id=str(call.attempt_id)))
        except (OSError, Unavailable, InvalidInput) as error:
            return LookupFailed(str(error))

    async def hang_up(self, call: CallHandle) -> None:
        try:
            answer = await self._ask("hang_up", attempt_id=str(call.attempt_id))
        except OSError as error:
            raise Unavailable(f"The simulated network could not be asked to hang up: {error}.") from error
        if "error" in answer:
            raise Unavailable(f"The simulated network did not hang up: {answer['error']}.")

    async def health(self) -> str | None:
        try:
            await self._ask("health")
        except OSError as error:
            return f"The simulated network at {self._profile.url} does not answer: {error}."
        except Unavailable as error:
            return str(error)
        return None

    async def listen(self, on_events: OnEvents, on_link_state: OnLinkState) -> None:
        """Pass on reports until cancelled, or until `on_events` raises: what it was given then comes again."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                connection = await self._open("subscribe")
            except (OSError, Unavailable) as error:
                await on_link_state(str(error))
            else:
                pause = FIRST_PAUSE_SECONDS
                await on_link_state(None)
                await _pass_on(connection, on_events)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def close(self) -> None:
        task: asyncio.Task[Connection] | None = getattr(self._here, "opening", None)
        self._here.opening = None
        if task and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])
            if connection := _result(task):
                connection.close()
                await connection.gone

    async def _ask(self, op: str, **fields: object) -> protocol.Message:
        connection = await self._connected()
        return await connection.ask(op, self._timeout, **fields)

    async def _connected(self) -> Connection:
        """Return this loop's connection. All who wait for a new one share one try, and its failure."""
        loop = asyncio.get_running_loop()
        task: asyncio.Task[Connection] | None = getattr(self._here, "opening", None)
        if task is None or task.get_loop() is not loop or (task.done() and not _is_open(task)):
            task = self._here.opening = loop.create_task(self._open())
            # Nobody may be left to hear of its failure when those who waited were cancelled.
            task.add_done_callback(_result)
        # Shielded, since the others still want it when this one is cancelled.
        connection = await asyncio.shield(task)
        if not connection.is_open:
            raise ConnectionResetError("the connection was lost")
        return connection

    async def _open(self, *then: str) -> Connection:
        """Connect, say hello and `then` more; raises OSError, or Unavailable when the server refuses this trunk."""
        loop = asyncio.get_running_loop()
        host, port = self._address
        opening = self._egress.connect(
            host, port, self._timeout, lambda address: loop.create_connection(Connection, address, port)
        )
        transport, connection = await _in_time(opening, self._timeout)
        for option in sockets.options(self._timeout):
            transport.get_extra_info("socket").setsockopt(*option)
        try:
            await self._greet(connection)
            for op in then:
                await connection.ask(op, self._timeout)
        except BaseException:
            connection.abort()
            raise
        # All that was asked is answered; what is acknowledged next must arrive.
        connection.reset_on_close(False)
        return connection

    async def _greet(self, connection: Connection) -> None:
        trunk_id, profile = str(self._trunk_id), self._profile.to_config()
        answer = await connection.ask("hello", self._timeout, trunk_id=trunk_id, profile=profile)
        if "error" in answer:
            raise Unavailable(f"The simulated network refuses this trunk: {answer['error']}.")


async def _in_time(wanted: Awaitable[T], seconds: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await wanted
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {seconds:g} seconds") from error


async def _pass_on(connection: Connection, on_events: OnEvents) -> None:
    """Hand over batch after batch until the connection is lost."""
    try:
        while (message := await connection.reports.get()) is not None:
            deliveries, events = protocol.decode_reports(message)
            await on_events(events)
            connection.send({"op": "acknowledge", "deliveries": deliveries})
    finally:
        connection.close()
        await connection.gone


def _is_open(task: asyncio.Task[Connection]) -> bool:
    connection = _result(task)
    return connection is not None and connection.is_open


def _result(task: asyncio.Task[Connection]) -> Connection | None:
    """Return what a finished task has opened, if it has."""
    return None if task.cancelled() or task.exception() else task.result()
