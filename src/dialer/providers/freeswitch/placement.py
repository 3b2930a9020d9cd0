"""Placing: one command for one call, and what FreeSWITCH surely said of it.

In: commands. Out: placements. FreeSWITCH does not refuse an `origination_uuid` that it knows: it makes a second call
under another uuid. So nothing here ever sends a command again, whatever becomes of the first.
"""

import asyncio
import re
from collections.abc import Callable

from pendulum import DateTime

from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.errors import Unavailable
from dialer.providers.base import TOO_LATE, CallRequest, Placed, Placement, Refused, Unclear
from dialer.providers.freeswitch import causes
from dialer.providers.freeswitch.esl import Connection, fail
from dialer.providers.freeswitch.frames import Event, Frame
from dialer.providers.freeswitch.line import Line

# Of our calls; the reports on them are the listener's.
HEARD = "CHANNEL_CREATE BACKGROUND_JOB"

_FAILED = re.compile(r"-ERR ([A-Z0-9_]+)\s*")


class PlacingConnection(Connection):
    """Commands that place calls, and the events by which one learns what became of them."""

    def __init__(self) -> None:
        super().__init__()
        self._signs: dict[str, asyncio.Future[Event]] = {}

    def expect(self, uuid: str) -> "asyncio.Future[Event]":
        """Wait for the first sign of this call: its channel, or the end of its job."""
        sign = self._signs[uuid] = asyncio.get_running_loop().create_future()
        sign.add_done_callback(lambda _: self._signs.pop(uuid, None))
        return sign

    def heard(self, event: Event) -> None:
        name = "Job-UUID" if event.name == "BACKGROUND_JOB" else "Unique-ID"
        sign = self._signs.get(event.fields.get(name, ""))
        if sign and not sign.done():
            sign.set_result(event)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for sign in tuple(self._signs.values()):
            fail(sign, ConnectionResetError("the connection was lost"))


async def place(
    line: Line[PlacingConnection],
    write: Callable[[DateTime], str | Refused],
    request: CallRequest,
    clock: Callable[[], DateTime],
    patience_seconds: float,
) -> Placement:
    """Send the command that `write` makes of the present moment, once."""
    try:
        async with asyncio.timeout(patience_seconds):
            connection = await line.get()
            await connection.flowing()
    except Unavailable as error:
        return Refused(error.code, CauseClass.INFRASTRUCTURE)
    except OSError:
        return Refused(RefusalCause.NETWORK_UNREACHABLE, CauseClass.INFRASTRUCTURE)
    now = clock()
    if now >= request.leave_by:
        return TOO_LATE
    command = write(now)
    if isinstance(command, Refused):
        return command
    if not connection.is_usable:
        # It was lost while others waited for it. Nothing has left.
        return Refused(RefusalCause.NETWORK_UNREACHABLE, CauseClass.INFRASTRUCTURE)
    with connection.used():
        return await _send(connection, command, str(request.attempt_id), patience_seconds)


async def _send(connection: PlacingConnection, command: str, uuid: str, patience_seconds: float) -> Placement:
    sign = connection.expect(uuid)
    answer = connection.send(command, uuid)
    try:
        async with asyncio.timeout(patience_seconds):
            if refused := _refused(await answer, uuid):
                return refused
            return _placement(await sign, uuid)
    except TimeoutError:
        if _is_missing(answer):
            return Unclear("FreeSWITCH did not answer in time")
        return Unclear("FreeSWITCH took the call and did not say in time what became of it")
    except (OSError, Unavailable) as error:
        return Unclear(str(error))
    finally:
        sign.cancel()
        # Also when the engine gives up sooner and cancels: the command may still wait in the kernel.
        if _is_missing(answer):
            connection.retire()


def _is_missing(answer: "asyncio.Future[Frame]") -> bool:
    return answer.cancelled() or not answer.done()


def _refused(answer: Frame, uuid: str) -> Placement | None:
    """Say why the command was not taken; None: it was."""
    if answer.reply.startswith("-ERR"):
        is_denied = "permission denied" in answer.reply
        cause = RefusalCause.PERMISSION_DENIED if is_denied else RefusalCause.COMMAND_REFUSED
        return Refused(cause, CauseClass.INFRASTRUCTURE)
    if answer.head.get("Job-UUID") != uuid:
        return Unclear("FreeSWITCH gave an answer that cannot be read")
    return None


def _placement(sign: Event, uuid: str) -> Placement:
    if sign.name != "BACKGROUND_JOB":
        return Placed(uuid)
    said = sign.body.strip()
    if said == f"+OK {uuid}":
        return Placed(uuid)
    if failed := _FAILED.fullmatch(said):
        # With a cause that only a call can have there was one, and its end is reported.
        return causes.refusal(failed[1]) or Placed(uuid)
    if said.startswith("-USAGE") or said.endswith("Command not found!"):
        return Refused(RefusalCause.COMMAND_REFUSED, CauseClass.INFRASTRUCTURE)
    return Unclear("FreeSWITCH made the call under another uuid, or said what cannot be read")
