"""A fake of Asterisk's ARI: HTTP and WebSocket on one port, as in the recorded conversations.

PJSIP endpoints have one channel, Local ones two legs. A WebSocket receives the events of all channels; none are kept
for clients that are away. An ended channel is 404. The simulated network behind it decides how calls go.
"""

import asyncio
import base64
import json
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from aiohttp import WSMsgType, web

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import CauseClass
from dialer.providers.base import CallRequest, Placed, Placement, Refused, Seen
from support.networks.asterisk_events import Leg, ended, legs_of, placed, step
from support.networks.switch import Switch, now, run_as_process

USERNAME = "dialer"
PASSWORD = "k4-very-secret-Zx9"
AUTHORIZATION = "Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
ENVIRONMENT = {"TRUNK_ASTERISK_PASSWORD": PASSWORD}
CONNECTION = {"extension": "s"}
TECHNOLOGIES = ("PJSIP", "Local")
NOWHERE = "nowhere"


def trunk(port: int, host: str = "127.0.0.1") -> dict[str, Any]:
    return {
        "name": "Asterisk",
        "provider": "asterisk",
        "config": {
            "url": f"http://{host}:{port}",
            "username": USERNAME,
            "password": "env:TRUNK_ASTERISK_PASSWORD",
            "endpoint": "PJSIP/{number}@provider",
            "context": "agents",
        },
    }


@dataclass
class Channel:
    """One call: its legs, and what the request asked for."""

    legs: list[Leg]
    app: str | None
    detects_machines: bool
    is_hung_up: bool = False
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class FakeAsterisk:
    """The server. `answers_late`: answer an originate only after its call has ended. `originates`: all requests.

    `is_read_only`: the user's setting in ari.conf. `conflicts`: answer a missing endpoint with 409, as older releases.
    `applications`: the Stasis applications that are connected.
    """

    def __init__(self, config: Mapping[str, Any], journal: Path | None) -> None:
        self.switch = Switch(config, self._report, journal)
        self.switch.lose_calls()
        self.port = 0
        self.started_at = now()
        self.answers_late = False
        self.is_read_only = False
        self.conflicts = False
        self.originates: list[dict[str, Any]] = []
        self.applications: set[str] = set()
        self.sockets: set[web.WebSocketResponse] = set()
        self._waiting: dict[web.WebSocketResponse, asyncio.Queue[str | bytes]] = {}
        self._channels: dict[AttemptId, Channel] = {}

    def say(self, event: Mapping[str, Any] | str | bytes) -> None:
        """Send one message to all WebSockets."""
        for waiting in self._waiting.values():
            waiting.put_nowait(event if isinstance(event, str | bytes) else json.dumps(event))

    async def hang_up_sockets(self) -> None:
        """Close all WebSockets."""
        for socket in list(self.sockets):
            await socket.close()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[_authenticated, self._may_write])
        app.router.add_get("/ari/asterisk/info", self._info)
        app.router.add_get("/ari/endpoints/{technology}", self._technology)
        app.router.add_get("/ari/endpoints/{technology}/{name}", self._endpoint)
        app.router.add_get("/ari/applications/{name}", self._application)
        app.router.add_get("/ari/events", self._events)
        app.router.add_post("/ari/channels", self._originate)
        app.router.add_get("/ari/channels/{id}", self._show)
        app.router.add_delete("/ari/channels/{id}", self._hang_up)
        return app

    @web.middleware
    async def _may_write(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self.is_read_only and request.method != "GET":
            return _message(403, "Write access denied")
        return await handler(request)

    async def _info(self, _: web.Request) -> web.Response:
        info = {
            "system": {"version": "22.10.1", "entity_id": "02:fc:00:00:00:01"},
            "status": {"startup_time": self.started_at.format("YYYY-MM-DDTHH:mm:ss.SSSZZ")},
        }
        return web.json_response(info)

    async def _technology(self, request: web.Request) -> web.Response:
        if request.match_info["technology"] not in TECHNOLOGIES:
            return _message(404, "Endpoints not found")
        return web.json_response([])

    async def _endpoint(self, request: web.Request) -> web.Response:
        technology, name = request.match_info["technology"], request.match_info["name"]
        if technology != "PJSIP" or name == NOWHERE:
            return _message(404, "Endpoint not found")
        return web.json_response({"technology": technology, "resource": name, "state": "online", "channel_ids": []})

    async def _application(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.applications:
            return _message(404, "Application not found")
        return web.json_response({"name": name, "channel_ids": [], "bridge_ids": [], "endpoint_ids": []})

    async def _originate(self, request: web.Request) -> web.Response:
        body = {**request.query, **await request.json()}
        self.originates.append(body)
        technology, slash, device = body["endpoint"].partition("/")
        if not slash or technology not in TECHNOLOGIES:
            return _message(400, "Invalid endpoint specified")
        if not body.get("app") and not body.get("extension"):
            return _message(400, "Application or extension must be specified")
        attempt_id = AttemptId(UUID(body["channelId"]))
        if device.endswith(f"@{NOWHERE}") and not self.conflicts:
            return web.json_response({"error": "Allocation failed"}, status=500)
        if self._is_up(attempt_id) or device.endswith(f"@{NOWHERE}"):
            return _message(409, "Channel with given unique ID already exists")
        return await self._dial(request, attempt_id, body)

    async def _dial(self, request: web.Request, attempt_id: AttemptId, body: Mapping[str, Any]) -> web.Response:
        placement = self._place(attempt_id, body)
        match placement:
            case Refused(_, CauseClass.RATE, seconds):
                # Asterisk has no such limit: it is that of a proxy in front of it.
                wait = {"Retry-After": str(math.ceil(seconds or 0))}
                return web.json_response({"message": "Too many requests"}, status=429, headers=wait)
            case Refused("server_error"):
                return _message(503, "Asterisk not booted")
            case Refused():
                return web.json_response({"error": "Allocation failed"}, status=500)
        channel = self._open(attempt_id, body)
        answer = json.dumps(channel.legs[0].snapshot("Down"))
        self.switch.pump.wake()
        if self.switch.cuts_this_answer():
            return await _cut(request, answer)
        if not isinstance(placement, Placed):
            await asyncio.Event().wait()
        if self.answers_late:
            await channel.is_over.wait()
        return web.Response(text=answer, content_type="application/json")

    def _place(self, attempt_id: AttemptId, body: Mapping[str, Any]) -> Placement:
        seconds = int(body["timeout"])
        return self.switch.network.place(
            CallRequest(
                attempt_id=attempt_id,
                to_number=body["endpoint"].partition("/")[2].partition("@")[0],
                from_number=body["callerId"],
                connection={},
                ring_timeout_seconds=seconds,
                place_by=now().add(seconds=60),
                # Asterisk ends the call after the timeout, whether or not it has rung.
                ring_by=now().add(seconds=seconds),
            ),
            now(),
        )

    def _open(self, attempt_id: AttemptId, body: Mapping[str, Any]) -> Channel:
        legs = legs_of(str(attempt_id), body["endpoint"], body["callerId"], len(self._channels), now())
        detects = body.get("variables", {}).get("DIALER_DETECT_MACHINE") == "1"
        channel = self._channels[attempt_id] = Channel(legs, body.get("app"), detects)
        if self._is_up(attempt_id):
            for event in placed(legs, now()):
                self.say(event)
        return channel

    def _report(self, event: CallEvent) -> None:
        channel = self._channels.get(event.attempt_id)
        if channel is None:
            return
        seen = self.switch.network.look_up(event.attempt_id, now())
        assert isinstance(seen, Seen)
        states = {event.kind for event in seen.events}
        if event.kind is EventKind.ENDED:
            messages = ended(channel.legs, event, states, is_hung_up=channel.is_hung_up)
            channel.is_over.set()
        else:
            ends = self.switch.network.log
            outcome = next(call.outcome for call in ends if call.attempt_id == event.attempt_id)
            messages = step(channel.legs, event, outcome, app=channel.app, detects=channel.detects_machines)
        for message in messages:
            self.say(message)

    async def _show(self, request: web.Request) -> web.Response:
        attempt_id = _id(request)
        if attempt_id is None or not self._is_up(attempt_id):
            return _message(404, "Channel not found")
        return web.json_response(self._channels[attempt_id].legs[0].snapshot(self._state(attempt_id)))

    async def _hang_up(self, request: web.Request) -> web.Response:
        attempt_id = _id(request)
        if attempt_id is None or not self._is_up(attempt_id):
            return _message(404, "Channel not found")
        self._channels[attempt_id].is_hung_up = True
        self.switch.network.hang_up(attempt_id, now())
        self.switch.pump.wake()
        return web.Response(status=204)

    def _is_up(self, attempt_id: AttemptId) -> bool:
        seen = self.switch.network.look_up(attempt_id, now())
        return isinstance(seen, Seen) and all(event.kind is not EventKind.ENDED for event in seen.events)

    def _state(self, attempt_id: AttemptId) -> str:
        seen = self.switch.network.look_up(attempt_id, now())
        assert isinstance(seen, Seen)
        states = {EventKind.RINGING: "Ringing", EventKind.ANSWERED: "Up"}
        return states[seen.events[-1].kind] if seen.events else "Down"

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if not request.query.get("app"):
            return _message(400, "HTTP request is missing param: [app]")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        waiting = self._waiting[socket] = asyncio.Queue()
        self.sockets.add(socket)
        telling = asyncio.create_task(_tell(socket, waiting))
        try:
            async for message in socket:
                assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY)
        finally:
            self.sockets.discard(socket)
            del self._waiting[socket]
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        return socket


async def _tell(socket: web.WebSocketResponse, waiting: "asyncio.Queue[str | bytes]") -> None:
    while True:
        message = await waiting.get()
        await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_str(message))


@web.middleware
async def _authenticated(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    # Outside ARI's path, the web server answers 404 before it checks the credentials.
    if not request.path.startswith("/ari/"):
        return web.Response(status=404, text="<h1>Not Found</h1>", content_type="text/html")
    if request.headers.get("Authorization") != AUTHORIZATION:
        return _message(401, "Authentication required")
    return await handler(request)


async def _cut(request: web.Request, answer: str) -> web.Response:
    """Close the connection in the middle of the answer."""
    transport = request.transport
    assert isinstance(transport, asyncio.WriteTransport)
    head = f"HTTP/1.1 200 OK\r\nContent-type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
    transport.write((head + answer[: len(answer) // 2]).encode())
    transport.close()
    await asyncio.Event().wait()
    raise AssertionError("a handler is cancelled when its connection is lost")


def _message(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


def _id(request: web.Request) -> AttemptId | None:
    try:
        return AttemptId(UUID(request.match_info["id"]))
    except ValueError:
        return None


@asynccontextmanager
async def serve(
    port: int,
    config: Mapping[str, Any],
    journal: Path | None = None,
    secure: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[FakeAsterisk]:
    asterisk = FakeAsterisk(config, journal)
    runner = web.AppRunner(asterisk.app(), handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=secure).start()
        asterisk.port = runner.addresses[0][1]
        yield asterisk
    finally:
        await asterisk.hang_up_sockets()
        await runner.cleanup()
        asterisk.switch.close()


if __name__ == "__main__":
    run_as_process(serve, __doc__)
