"""The template in `examples/provider_template`, with the network that it is made for: what is shown must be right."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from runpy import run_path
from typing import Any
from uuid import UUID

import httpx2
import pendulum

from dialer.domain.call import CallEvent
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import CauseClass
from dialer.providers.base import (
    CallRequest,
    Placed,
    Provider,
    ProviderEnvironment,
    ProviderPlugin,
    Refused,
    ReportsByWebhook,
    Seen,
    WebhookRequest,
)
from support.networks.http_server import HttpRequest, HttpServer, Reply
from support.networks.switch import Switch, now
from support.rigs.real_time import RealTimeRig

TEMPLATE = Path(__file__).parents[3] / "examples" / "provider_template" / "dialer_tinytel.py"
TRUNK = TrunkId(UUID("018f0000-0000-7000-8000-000000000006"))
TOKEN = "token-of-tinytel"
PLACE_SECONDS = 20
PLUGIN: ProviderPlugin = run_path(str(TEMPLATE))["PLUGIN"]


class TinyTelNetwork:
    """The far end of the template's protocol."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.due: asyncio.Queue[CallEvent] = asyncio.Queue()
        self.switch = Switch({"speed": 1000, **config}, self.due.put_nowait)
        self.report_to = ""

    async def answer(self, sent: HttpRequest) -> Reply:
        if sent.headers.get("token") != TOKEN:
            return Reply(401)
        match sent.method, sent.path.strip("/").split("/"):
            case "POST", ["calls"]:
                return self._place(json.loads(sent.body))
            case "GET", ["calls", attempt_id]:
                return self._look_up(AttemptId(UUID(attempt_id)))
            case "DELETE", ["calls", attempt_id]:
                self.switch.network.hang_up(AttemptId(UUID(attempt_id)), now())
                self.switch.pump.wake()
        return Reply(204)

    async def report(self) -> None:
        async with httpx2.AsyncClient(trust_env=False, headers={"token": TOKEN}) as client:
            while True:
                event = await self.due.get()
                await client.post(self.report_to, json=encode(event))

    def _place(self, asked: dict[str, Any]) -> Reply:
        self.report_to = asked["report_to"]
        moment, seconds = now(), float(asked["ring_seconds"])
        # It knows no ring_by: its timeout, which it keeps from the first signal on, ends with it.
        request = CallRequest(
            AttemptId(UUID(asked["id"])), asked["to"], asked["from"], {}, seconds,
            moment.add(seconds=PLACE_SECONDS), moment.add(seconds=seconds),
        )  # fmt: skip
        answer = self.switch.network.place(request, moment)
        self.switch.pump.wake()
        match answer:
            case Placed():
                return Reply(201, {"id": asked["id"]}, cut=self.switch.cuts_this_answer())
            case Refused(_, CauseClass.RATE, wait):
                return Reply(429, headers={"retry-after": str(math.ceil(wait or 0))})
            case Refused():
                return Reply(403)
        return Reply(None)

    def _look_up(self, attempt_id: AttemptId) -> Reply:
        seen = self.switch.network.look_up(attempt_id, now())
        if isinstance(seen, Seen):
            return Reply(200, {"steps": [encode(event) for event in seen.events]})
        return Reply(404, {"never_was": str(attempt_id)})


def encode(event: CallEvent) -> dict[str, Any]:
    payload = {"id": str(event.attempt_id), "step": event.kind, "at": event.at.timestamp()}
    return {**payload, "result": event.outcome, "talked": event.talk_seconds}


@asynccontextmanager
async def template(config: dict[str, Any]) -> AsyncIterator[RealTimeRig]:
    async def receive(sent: HttpRequest) -> Reply:
        assert isinstance(provider, ReportsByWebhook)
        await rig.on_events(
            provider.read_reports(WebhookRequest("", sent.headers, sent.body, None, pendulum.now("UTC")))
        )
        return Reply(204)

    network = TinyTelNetwork(config)
    web, receiver = await HttpServer.start(network.answer), await HttpServer.start(receive)
    reporting = asyncio.create_task(network.report())
    around = ProviderEnvironment(now, lambda _: TOKEN, f"http://127.0.0.1:{receiver.port}")

    def connect(port: int) -> Provider:
        trunk = {"url": f"http://127.0.0.1:{port}", "token": "env:TRUNK_TINYTEL_TOKEN"}
        return PLUGIN.connect(TRUNK, trunk, around)

    provider = connect(web.port)
    rig = RealTimeRig(
        provider,
        network.switch.network,
        web.port,
        connect,
        tuple,
        keeps_records=True,
        secrets=[TOKEN],
        switch=network.switch,
        close_network=web.close,
    )
    try:
        yield rig
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
        await provider.close()
        await web.close()
        await receiver.close()
        network.switch.close()


RIGS = [template]
