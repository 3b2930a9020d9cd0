"""Helpers for tests of FreeSWITCH: recorded event socket sessions, a provider, a listener, a scripted server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pendulum

from dialer.domain.call import CallEvent
from dialer.domain.ids import TrunkId
from dialer.providers.base import CallRequest, ProviderEnvironment
from dialer.providers.freeswitch import FreeSwitch, FreeSwitchConfig
from support.networks.freeswitch import CONNECTION, ENVIRONMENT, read_originate, trunk
from support.networks.freeswitch_channels import TRACES
from support.networks.switch import now, wait_until
from support.networks.tcp_server import tcp_server

CallRequests = Callable[..., CallRequest]
EventFacts = tuple[str, str | None, str | None]

TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-0000000000f6"))
QUICK = {"speed": 1000, "outcomes": {"answered": 1}}
RINGING: EventFacts = ("ringing", None, None)
ANSWERED: EventFacts = ("answered", None, None)


# The call events of each recorded session.
RECORDED: dict[str, list[EventFacts]] = {
    "loopback-answer": [RINGING, ANSWERED, ("ended", "answered", "normal_clearing")],
    "loopback-busy": [("ended", "busy", "user_busy")],
    "loopback-reject": [("ended", "rejected", "call_rejected")],
    "loopback-noanswer": [RINGING, ("ended", "no_answer", "no_answer")],
    "sofia-ok": [RINGING, ANSWERED, ("ended", "answered", "normal_clearing")],
    "sofia-busy": [RINGING, ("ended", "busy", "user_busy")],
    "sofia-decline": [RINGING, ("ended", "rejected", "call_rejected")],
    "sofia-404": [RINGING, ("ended", "invalid_number", "unallocated_number")],
    "sofia-503": [RINGING, ("ended", "failed", "normal_temporary_failure")],
    "hang-up-while-ringing": [RINGING, ("ended", "cancelled", "normal_clearing")],
    "same-uuid-twice": [RINGING, ANSWERED, ("ended", "answered", "normal_clearing")],
    "unknown-gateway": [],
    "nobody-there": [("ended", "failed", "normal_temporary_failure")],
}


def event_facts(events: Sequence[CallEvent]) -> list[EventFacts]:
    return [(event.kind.value, event.outcome and event.outcome.value, event.cause) for event in events]


def recorded_messages(scenario: str) -> list[dict[str, Any]]:
    messages = [json.loads(line) for line in TRACES.read_text().splitlines()]
    return [message for message in messages if message["scenario"] == scenario]


def attempt_of(scenario: str) -> str:
    asked = next(
        message["text"]
        for message in recorded_messages(scenario)
        if message.get("text", "").startswith("bgapi originate")
    )
    return read_originate(asked.removeprefix("bgapi originate "))[0]["origination_uuid"]


def encode_message(message: dict[str, Any]) -> bytes:
    """Encode a recorded message as it was on the wire."""
    head = "".join(f"{name}: {value}\n" for name, value in message["headers"].items())
    return f"{head}\n{message['body']}".encode()


def frame(kind: str, body: str = "", **head: str) -> bytes:
    return encode_message(
        {"headers": {"Content-Type": kind, "Content-Length": str(len(body.encode()))} | head, "body": body}
    )


def environment(clock: Callable[[], pendulum.DateTime] = now) -> ProviderEnvironment:
    return ProviderEnvironment(clock, lambda value: ENVIRONMENT.get(value.removeprefix("env:"), value), None)


@asynccontextmanager
async def provider(port: int, clock: Callable[[], pendulum.DateTime] = now, **config: Any) -> AsyncIterator[FreeSwitch]:
    made = FreeSwitch(TRUNK, FreeSwitchConfig.parse(trunk(port)["config"] | config), environment(clock))
    try:
        yield made
    finally:
        await made.close()


class Inbox:
    """The call events and link states that a listener hands over."""

    def __init__(self) -> None:
        self.events: list[CallEvent] = []
        self.links: list[str | None] = []

    async def take(self, events: Sequence[CallEvent]) -> None:
        self.events += events

    async def linked(self, reason: str | None) -> None:
        self.links.append(reason)


@asynccontextmanager
async def listening(*switches: FreeSwitch) -> AsyncIterator[list[Inbox]]:
    inboxes = [Inbox() for _ in switches]
    tasks = [
        asyncio.create_task(switch.listen(inbox.take, inbox.linked))
        for switch, inbox in zip(switches, inboxes, strict=True)
    ]
    await wait_until(lambda: all(inbox.links for inbox in inboxes))
    try:
        yield inboxes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class ScriptedServer:
    """A server that accepts any password and replies to each command with `answer(command)`.

    None: no reply. Empty: it closes the connection. `commands`: the commands after the login.
    """

    def __init__(self, answer: Callable[[str], bytes | None]) -> None:
        self._answer = answer
        self.commands: list[str] = []
        self.connections = 0

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(frame("auth/request"))
        try:
            while command := (await reader.readuntil(b"\n\n")).decode().strip():
                if command.startswith("auth "):
                    writer.write(frame("command/reply", **{"Reply-Text": "+OK accepted"}))
                    continue
                self.commands.append(command)
                if (answer := self._reply(command)) is not None:
                    writer.write(answer)
                if answer == b"":
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.close()

    def _reply(self, command: str) -> bytes | None:
        answer = self._answer(command)
        is_subscription = command.startswith("event ")
        ok = frame("command/reply", **{"Reply-Text": "+OK event listener enabled plain"})
        return ok + (answer or b"") if is_subscription else answer


@asynccontextmanager
async def scripted_server(answer: Callable[[str], bytes | None]) -> AsyncIterator[tuple[ScriptedServer, int]]:
    script = ScriptedServer(answer)
    async with tcp_server(script.welcome) as port:
        yield script, port


def job_accepted(command: str) -> bytes:
    job = command.rpartition("Job-UUID: ")[2]
    return frame("command/reply", **{"Reply-Text": f"+OK Job-UUID: {job}", "Job-UUID": job})


def with_agent(request: CallRequest, **more: Any) -> CallRequest:
    return replace(request, connection=CONNECTION, **more)
