"""A fake FreeSWITCH: the Event Socket over TCP, as recorded from FreeSWITCH 1.10.12.

As on a real FreeSWITCH: a second originate with a known origination_uuid makes a second call under another uuid; a
loopback reports both of its legs; the end of a job comes before or after the end of its channel; an accepted command
does not mean that there is a call; a failed originate may never have had a channel.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import Outcome
from dialer.providers.base import CallRequest, Placed, Refused, Seen
from support.networks.freeswitch_channels import MACHINE, Channel, cause_of, job_event, micros
from support.networks.freeswitch_client import PASSWORD, Client
from support.networks.switch import Switch, now, run_as_process

GATEWAY = "lab"
ENVIRONMENT = {"TRUNK_FREESWITCH_PASSWORD": PASSWORD}
CONNECTION = {"extension": "1000"}
# Above sessions-per-second no session is made, and the cause stays Sofia's default.
REFUSALS = {
    "switch_congestion": "SWITCH_CONGESTION",
    "server_error": "NORMAL_TEMPORARY_FAILURE",
    "rate_limited": "DESTINATION_OUT_OF_ORDER",
}
STATUS = """UP 0 years, 0 days, 0 hours, 1 minute, 5 seconds, 572 milliseconds, 626 microseconds
FreeSWITCH (Version 1.10.12-release git a88d069 2024-08-02 21:02:27Z 64bit) is ready
21 session(s) since startup
"""
NO_CHANNEL = "-ERR No such channel!\n"


def trunk(
    port: int, destination: str = f"sofia/gateway/{GATEWAY}/{{number}}", host: str = "127.0.0.1"
) -> dict[str, Any]:
    config = {"host": host, "port": port, "password": "env:TRUNK_FREESWITCH_PASSWORD"}
    config |= {"dial_string": destination, "machine_variable": f"{MACHINE}=MACHINE", "context": "agents"}
    return {"name": "FreeSWITCH", "provider": "freeswitch", "config": config}


class FakeFreeSwitch:
    """The switch and its clients. `received`: all commands, in the order in which they came.

    `gateway_status`: the state of its gateway. `lets_in`: the clients' address is on its access list. `is_paused`: it
    makes no outbound calls (`fsctl pause outbound`), though its status is "ready".
    """

    def __init__(self, config: Mapping[str, Any], journal: Path | None) -> None:
        self.switch = Switch(config, self._report, journal)
        self.switch.lose_calls()
        self.received: list[str] = []
        self.gateway_status = "UP"
        self.lets_in = True
        self.started_at = now()
        self.is_paused = False
        self.clients: set[Client] = set()
        self.channels: dict[str, Channel] = {}
        self._of_call: dict[str, Channel] = {}
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None] | None] = set()

    @property
    def port(self) -> int:
        assert self._server
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, port: int, host: str) -> None:
        self._server = await asyncio.start_server(self._welcome, host, port)

    async def stop(self) -> None:
        """Stop listening and close all connections. Called twice: the same."""
        assert self._server
        self._server.close()
        for client in tuple(self.clients):
            client.close()
        await self._server.wait_closed()
        await asyncio.gather(*(task for task in self._serving if task), return_exceptions=True)

    @property
    def originates(self) -> list[str]:
        return [command for command in self.received if command.startswith("bgapi originate")]

    def originate(self, client: Client, arguments: str, job: str) -> None:
        """Make a call, and answer unless the network does not."""
        variables, destination = read_originate(arguments)
        calls = len(self.switch.network.log)
        made = self.switch.network.place(_request(variables, destination), now())
        channel = self._open(variables, destination, job, arguments) if len(self.switch.network.log) > calls else None
        self.switch.pump.wake()
        if isinstance(made, Placed) and self.switch.cuts_this_answer():
            client.cut(f"Content-Type: command/reply\nReply-Text: +OK Job-UUID: {job}\n")
        elif isinstance(made, Placed | Refused):
            client.reply(f"+OK Job-UUID: {job}", job)
        else:
            client.missed.add(job)
        if channel:
            self.tell("CHANNEL_CREATE", channel.events("CHANNEL_CREATE", channel.created), job)
        elif isinstance(made, Refused):
            result = f"-ERR {REFUSALS.get(made.cause, 'SWITCH_CONGESTION')}\n"
            self.tell("BACKGROUND_JOB", [job_event("originate", arguments, job, result, micros(now()))], job)

    def api(self, command: str, arguments: str) -> str:
        match command, arguments.split():
            case "status", _:
                return STATUS
            case "fsctl", ["pause_check", "outbound"]:
                return "true" if self.is_paused else "false"
            case "uuid_exists", [uuid]:
                return "true" if self._up(uuid) else "false"
            case "uuid_dump", [uuid]:
                channel = self._up(uuid)
                return channel.dump() if channel else NO_CHANNEL
            case "uuid_kill", [uuid, *_]:
                if (channel := self._up(uuid)) is None:
                    return NO_CHANNEL
                channel.is_killed = True
                self.switch.network.hang_up(AttemptId(UUID(uuid)), now())
                self.switch.pump.wake()
                return "+OK\n"
            case "show", ["channels", "as", "json"]:
                return json.dumps({"row_count": sum(1 for uuid in self.channels if self._up(uuid))}) + "\n"
            case "uptime", ["s"]:
                return f"{int((now() - self.started_at).total_seconds())}\n"
            case "sofia", ["status", "gateway", name]:
                return gateway(name, self.gateway_status)
        return f"-ERR {command} Command not found!\n"

    def tell(self, name: str, events: list[str], job: str) -> None:
        """Send events to the clients that have subscribed, except those that must not receive anything of this job."""
        for client in self.clients:
            if name in client.events and job not in client.missed:
                for event in events:
                    client.send({"Content-Length": str(len(event)), "Content-Type": "text/event-plain"}, event)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(self, reader, writer)
        self.clients.add(client)
        self._serving.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await client.serve()
        self.clients.discard(client)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self._serving.discard(asyncio.current_task())

    def _open(self, variables: dict[str, str], destination: str, job: str, arguments: str) -> Channel:
        uuid = variables["origination_uuid"]
        # The trap: a uuid that is in use is not an error.
        uuid = str(uuid4()) if uuid in self.channels else uuid
        other = str(uuid4()) if destination.startswith("loopback/") else None
        attempt_id, created = UUID(variables["origination_uuid"]), micros(now())
        channel = Channel(uuid, attempt_id, destination, variables, job, arguments, created, other)
        self.channels[uuid] = self._of_call[self.switch.network.log[-1].call_id] = channel
        return channel

    def _up(self, uuid: str) -> Channel | None:
        """Return the channel with all that has happened by now; None: it is not up."""
        channel = self.channels.get(uuid)
        sighting = self.switch.network.look_up(AttemptId(channel.attempt_id), now()) if channel else None
        if channel is None or not isinstance(sighting, Seen) or any(event.outcome for event in sighting.events):
            return None
        for event in sighting.events:
            channel.take(event)
        return channel

    def _report(self, event: CallEvent) -> None:
        known = self._of_call.get(event.provider_call_id or "")
        if known is None:
            # The call was made before this switch was restarted.
            return
        channel, at = known, micros(event.at)
        channel.take(event)
        match event.kind:
            case EventKind.RINGING:
                self.tell("CHANNEL_PROGRESS", channel.events("CHANNEL_PROGRESS", at), channel.job)
            case EventKind.ANSWERED:
                self.tell("CHANNEL_ANSWER", channel.events("CHANNEL_ANSWER", at), channel.job)
                self._end_job(channel, f"+OK {channel.uuid}\n", at)
            case EventKind.ENDED:
                self._end(channel, event, at)

    def _end(self, channel: Channel, event: CallEvent, at: int) -> None:
        hung_up, complete = channel.end("CHANNEL_HANGUP", event), channel.end("CHANNEL_HANGUP_COMPLETE", event)
        was_answered = event.outcome in (Outcome.ANSWERED, Outcome.MACHINE)
        result = f"+OK {channel.uuid}\n" if was_answered else f"-ERR {cause_of(event)}\n"
        job_is_first = channel.attempt_id.int % 2 == 0
        if job_is_first:
            self._end_job(channel, result, at)
        self.tell("CHANNEL_HANGUP", hung_up, channel.job)
        self.tell("CHANNEL_HANGUP_COMPLETE", complete, channel.job)
        self._end_job(channel, result, at)

    def _end_job(self, channel: Channel, result: str, at: int) -> None:
        if not channel.is_job_told:
            channel.is_job_told = True
            self.tell("BACKGROUND_JOB", [channel.job_event(result, at)], channel.job)


def read_originate(arguments: str) -> tuple[dict[str, str], str]:
    """Split an originate into its variables, including those of the leg, and the destination."""
    variables, _, rest = arguments.removeprefix("{").partition("}")
    if rest.startswith("["):
        of_leg, _, rest = rest.removeprefix("[").partition("]")
        variables += f",{of_leg}"
    return dict(variable.split("=", 1) for variable in variables.split(",")), rest.split(" ")[0]


def gateway(name: str, status: str) -> str:
    if name != GATEWAY:
        return "Invalid Gateway!\n"
    return f"{'=' * 97}\nName    \t{name}\nProfile \texternal\nState   \tNOREG\nStatus  \t{status}\n{'=' * 97}\n"


def _request(variables: Mapping[str, str], destination: str) -> CallRequest:
    asked_at = now()
    progress = variables.get("leg_progress_timeout")
    # As tested on a real one: this timeout also ends calls that ring.
    longest = min(float(variables.get(name, "inf")) for name in ("originate_timeout", "progress_timeout"))
    return CallRequest(
        attempt_id=AttemptId(UUID(variables["origination_uuid"])),
        to_number=destination.split("/")[1 if destination.startswith("loopback/") else -1],
        from_number=variables["origination_caller_id_number"],
        connection={},
        ring_timeout_seconds=longest,
        place_by=asked_at.add(hours=1),
        ring_by=asked_at.add(seconds=int(progress)) if progress else None,
    )


@asynccontextmanager
async def serve(
    port: int = 0, config: Mapping[str, Any] | None = None, journal: Path | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[FakeFreeSwitch]:
    fake = FakeFreeSwitch(config or {}, journal)
    await fake.start(port, host)
    try:
        yield fake
    finally:
        await fake.stop()
        fake.switch.close()


if __name__ == "__main__":
    run_as_process(serve, __doc__)
