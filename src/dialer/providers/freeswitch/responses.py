"""Sends the command that places a call, and reads FreeSWITCH's response and the first event of the call.

In: commands. Out: placements. FreeSWITCH does not refuse an `origination_uuid` that is in use: it makes a second call
under another uuid. So no command is ever sent again, whatever the result of the first.
"""

import asyncio
import re
from collections.abc import Callable

from pendulum import DateTime

from dialer.domain.outcomes import CauseClass, RefusalCause
from dialer.errors import Unavailable
from dialer.providers.base import TOO_LATE, CallRequest, Placed, Placement, Refused, Unclear
from dialer.providers.freeswitch import causes
from dialer.providers.freeswitch.esl import EslConnection, Frame, SwitchEvent, fail
from dialer.providers.shared_connection import LOST, SharedConnection

# The events that show the result of an originate; the listener receives all others.
EVENTS = "CHANNEL_CREATE BACKGROUND_JOB"

_FAILED = re.compile(r"-ERR ([A-Z0-9_]+)\s*")


class PlacingConnection(EslConnection):
    """Sends originates, and receives the events that show their results."""

    def __init__(self) -> None:
        super().__init__()
        self._results: dict[str, asyncio.Future[SwitchEvent]] = {}

    def result_of(self, uuid: str) -> "asyncio.Future[SwitchEvent]":
        """Return a future for the first event of this call: the creation of its channel, or the end of its job."""
        result = self._results[uuid] = asyncio.get_running_loop().create_future()
        result.add_done_callback(lambda _: self._results.pop(uuid, None))
        return result

    def received(self, event: SwitchEvent) -> None:
        name = "Job-UUID" if event.name == "BACKGROUND_JOB" else "Unique-ID"
        result = self._results.get(event.fields.get(name, ""))
        if result and not result.done():
            result.set_result(event)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for result in tuple(self._results.values()):
            fail(result, ConnectionResetError(LOST))


async def place(
    connections: SharedConnection[PlacingConnection],
    write: Callable[[DateTime], str | Refused],
    request: CallRequest,
    clock: Callable[[], DateTime],
    timeout_seconds: float,
) -> Placement:
    """Send, once, the command that `write` makes for the current time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            connection = await connections.get()
            await connection.flushed()
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
        # It was lost or retired while we waited for it to be flushed. Nothing has left.
        return Refused(RefusalCause.NETWORK_UNREACHABLE, CauseClass.INFRASTRUCTURE)
    with connection.used():
        return await _send(connection, command, str(request.attempt_id), timeout_seconds)


async def _send(connection: PlacingConnection, command: str, uuid: str, timeout_seconds: float) -> Placement:
    result = connection.result_of(uuid)
    answer = connection.send(command, uuid)
    try:
        async with asyncio.timeout(timeout_seconds):
            if refused := _refused(await answer, uuid):
                return refused
            return _placement(await result, uuid)
    except TimeoutError:
        if _is_missing(answer):
            return Unclear("FreeSWITCH did not answer in time")
        return Unclear("FreeSWITCH took the call and did not say in time what became of it")
    except (OSError, Unavailable) as error:
        return Unclear(str(error))
    finally:
        result.cancel()
        # Also when the engine gives up sooner and cancels us: the command may still be in the kernel's buffer.
        if _is_missing(answer):
            connection.retire()


def _is_missing(answer: "asyncio.Future[Frame]") -> bool:
    return answer.cancelled() or not answer.done()


def _refused(answer: Frame, uuid: str) -> Placement | None:
    """Return why the command was not accepted; None: it was."""
    if answer.reply.startswith("-ERR"):
        is_denied = "permission denied" in answer.reply
        cause = RefusalCause.PERMISSION_DENIED if is_denied else RefusalCause.COMMAND_REFUSED
        return Refused(cause, CauseClass.INFRASTRUCTURE)
    if answer.head.get("Job-UUID") != uuid:
        return Unclear("FreeSWITCH gave an answer that cannot be read")
    return None


def _placement(result: SwitchEvent, uuid: str) -> Placement:
    if result.name != "BACKGROUND_JOB":
        return Placed(uuid)
    text = result.body.strip()
    if text == f"+OK {uuid}":
        return Placed(uuid)
    if failed := _FAILED.fullmatch(text):
        # Other causes only come from a call: there was one, and its end is reported.
        return causes.refusal(failed[1]) or Placed(uuid)
    if text.startswith("-USAGE") or text.endswith("Command not found!"):
        return Refused(RefusalCause.COMMAND_REFUSED, CauseClass.INFRASTRUCTURE)
    return Unclear("FreeSWITCH made the call under another uuid, or said what cannot be read")
