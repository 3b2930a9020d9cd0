"""One connection of a client to the fake FreeSWITCH.

In: commands as received. Out: answers in their order, and the events that the client has subscribed to.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol
from uuid import uuid4

from support.networks.freeswitch_channels import job_event, micros
from support.networks.switch import now

PASSWORD = "ClueCon-5xQ!"
GOODBYE = "Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"


class Server(Protocol):
    """What a client needs of the switch."""

    lets_in: bool
    received: list[str]

    def originate(self, client: "Client", arguments: str, job: str) -> None: ...

    def api(self, command: str, arguments: str) -> str: ...

    def tell(self, name: str, events: list[str], job: str) -> None: ...


class Client:
    """One connection. `missed`: the jobs about which it receives nothing."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self.events: set[str] = set()
        self.missed: set[str] = set()

    async def serve(self) -> None:
        if not self._server.lets_in:
            text = "Access Denied, go away.\n"
            self.send({"Content-Type": "text/rude-rejection", "Content-Length": str(len(text))}, text)
            self.send({"Content-Type": "text/disconnect-notice", "Content-Length": str(len(GOODBYE))}, GOODBYE)
            return
        self.send({"Content-Type": "auth/request"})
        is_in = False
        while command := (await self._reader.readuntil(b"\n\n")).decode().strip("\n"):
            line, *heads = command.split("\n")
            if is_in:
                self._server.received.append(command)
                self._obey(line, heads)
            elif is_in := line == f"auth {PASSWORD}":
                self.reply("+OK accepted")
            else:
                self.reply("-ERR invalid")
                self.send({"Content-Type": "text/disconnect-notice", "Content-Length": str(len(GOODBYE))}, GOODBYE)
                return

    def reply(self, text: str, job: str | None = None) -> None:
        self.send({"Content-Type": "command/reply", "Reply-Text": text} | ({"Job-UUID": job} if job else {}))

    def send(self, head: Mapping[str, str], body: str = "") -> None:
        if not self._writer.is_closing():
            self._writer.write(("".join(f"{name}: {value}\n" for name, value in head.items()) + "\n" + body).encode())

    def cut(self, half: str) -> None:
        """Send the beginning of an answer, and close the connection."""
        self._writer.write(half.encode())
        self._writer.close()

    def close(self) -> None:
        self._writer.close()

    def _obey(self, line: str, heads: list[str]) -> None:
        word, _, rest = line.partition(" ")
        command, _, arguments = rest.partition(" ")
        match word:
            case "event":
                self.events |= set(arguments.split())
                self.reply("+OK event listener enabled plain")
            case "bgapi":
                self._background(
                    command, arguments, dict(head.split(": ", 1) for head in heads).get("Job-UUID", str(uuid4()))
                )
            case "api":
                text = self._server.api(command, arguments)
                self.send({"Content-Type": "api/response", "Content-Length": str(len(text))}, text)
            case _:
                self.reply("-ERR command not found")

    def _background(self, command: str, arguments: str, job: str) -> None:
        if command == "originate":
            self._server.originate(self, arguments, job)
            return
        self.reply(f"+OK Job-UUID: {job}", job)
        event = job_event(command, arguments, job, self._server.api(command, arguments), micros(now()))
        self._server.tell("BACKGROUND_JOB", [event], job)
