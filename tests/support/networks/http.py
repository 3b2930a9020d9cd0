"""A platform with an HTTP API, as the provider `http` has it: it takes signed requests and posts signed reports.

It does not notice when the same call is asked for twice, as a real one should: a call that rings twice must be seen.
Reports are posted in the order in which they fall due, several at once, and again while they are not taken.
"""

import asyncio
import base64
import json
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pendulum
from pendulum import DateTime
from standardwebhooks import Webhook, WebhookVerificationError

from dialer.domain.call import CallEvent
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import CauseClass
from dialer.providers.base import Absent, CallRequest, LookupFailed, Placed, Refused, Seen
from support.networks.http_server import HttpRequest, HttpServer, Reply, serving
from support.networks.switch import Switch, now, run_as_process

SECRET = f"whsec_{base64.b64encode(b'of the fake network, 32 bytes...').decode()}"
ENVIRONMENT = {"TRUNK_HTTP_SECRET": SECRET}
CONNECTION: dict[str, Any] = {}
AT_ONCE = 100
PAUSES_SECONDS = (0.1, 0.3, 1, 2, 4, 8)


def trunk(port: int, host: str = "127.0.0.1") -> dict[str, Any]:
    """The body of a trunk to the platform behind this port."""
    at = f"http://{host}:{port}"
    config = {
        "url": f"{at}/calls",
        "secret": "env:TRUNK_HTTP_SECRET",
        "look_up_url": f"{at}/calls/{{attempt_id}}",
        "hang_up_url": f"{at}/calls/{{attempt_id}}/hang-up",
        "health_url": f"{at}/health",
    }
    return {"name": "http", "provider": "http", "config": config}


def signed(message_id: str, body: str) -> dict[str, str]:
    """The headers of a message that is sent now."""
    sent = pendulum.from_timestamp(int(time.time()))
    signature = Webhook(SECRET).sign(message_id, sent, body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent.int_timestamp),
        "webhook-signature": signature,
        "content-type": "application/json",
    }


class FakePlatform:
    """What is behind the port. `report_url`: where the caller of the latest call wants its reports."""

    def __init__(self, config: Mapping[str, Any], journal: Path | None) -> None:
        self.switch = Switch(config, journal=journal, subscriber=self._deliver)
        self._memory = journal and journal.with_suffix(".report_url")
        self.report_url = self._memory.read_text() if self._memory and self._memory.exists() else None
        self.server: HttpServer
        self._due: asyncio.Queue[Sequence[tuple[str, CallEvent]]] = asyncio.Queue()

    @property
    def port(self) -> int:
        return self.server.port

    async def answer(self, sent: HttpRequest) -> Reply:
        """Answer one request, whose signature must be right and, where nothing else is signed, name what it asks."""
        try:
            Webhook(SECRET).verify(sent.body, dict(sent.headers), json_parse=False)
        except WebhookVerificationError:
            return Reply(401)
        message_id = sent.headers["webhook-id"]
        match sent.method, sent.path.strip("/").split("/"):
            case "POST", ["calls"]:
                return self._place(json.loads(sent.body))
            case "GET", ["calls", attempt_id] if message_id == f"look_up:{attempt_id}":
                return self._look_up(AttemptId(UUID(attempt_id)))
            case "POST", ["calls", attempt_id, "hang-up"] if json.loads(sent.body)["attempt_id"] == attempt_id:
                return self._hang_up(AttemptId(UUID(attempt_id)))
            case "GET", ["health"]:
                return Reply(204)
        return Reply(404)

    def _place(self, asked: dict[str, Any]) -> Reply:
        self._remember(asked["report_url"])
        answer = self.switch.network.place(_request(asked), now())
        self.switch.pump.wake()
        match answer:
            case Placed(call_id):
                return Reply(202, {"call_id": call_id}, cut=self.switch.cuts_this_answer())
            case Refused(cause, CauseClass.RATE as cause_class, seconds):
                wait = {"retry-after": str(math.ceil(seconds or 0))}
                return Reply(429, {"cause": cause, "cause_class": cause_class}, wait)
            case Refused(cause, cause_class):
                return Reply(422, {"cause": cause, "cause_class": cause_class})
        return Reply(None)

    def _look_up(self, attempt_id: AttemptId) -> Reply:
        match self.switch.network.look_up(attempt_id, now()):
            case Seen(call_id, events):
                return Reply(200, {"call_id": call_id, "events": [encode(event) for event in events]})
            case Absent():
                return Reply(404, {"attempt_id": str(attempt_id)})
            case LookupFailed(reason):
                return Reply(503, {"detail": reason})
        raise AssertionError("a simulated network keeps its records")

    def _hang_up(self, attempt_id: AttemptId) -> Reply:
        self.switch.network.hang_up(attempt_id, now())
        self.switch.pump.wake()
        return Reply(204)

    def _remember(self, report_url: str) -> None:
        """Keep it for the calls that are up when this process is killed."""
        if self._memory and report_url != self.report_url:
            self._memory.write_text(report_url)
        self.report_url = report_url

    def _deliver(self, due: Sequence[tuple[str, CallEvent]]) -> None:
        self._due.put_nowait(due)

    async def post_all(self) -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
            while True:
                due = await self._due.get()
                for first in range(0, len(due), AT_ONCE):
                    names, events = zip(*due[first : first + AT_ONCE], strict=True)
                    # A message has the name of its first report, also when it is posted again after a kill.
                    await self._post(client, f"report-{names[0]}", events)
                    self.switch.pump.acknowledge(self._deliver, names)

    async def _post(self, client: httpx2.AsyncClient, message_id: str, events: Sequence[CallEvent]) -> None:
        body = json.dumps({"events": [encode(event) for event in events]})
        for pause in PAUSES_SECONDS:
            try:
                # Signed anew each time, for the time of a signature is that of its sending.
                reply = await client.post(self.report_url or "", content=body, headers=signed(message_id, body))
                if reply.status_code < 500 and reply.status_code != 429:
                    return
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(pause)


def _request(asked: Mapping[str, Any]) -> CallRequest:
    return CallRequest(
        attempt_id=AttemptId(UUID(asked["attempt_id"])),
        to_number=asked["to_number"],
        from_number=asked["from_number"],
        connection={},
        ring_timeout_seconds=asked["ring_timeout_seconds"],
        place_by=_moment(asked["place_by"]),
        ring_by=_moment(asked["ring_by"]) if asked["ring_by"] else None,
    )


def _moment(text: str) -> DateTime:
    return pendulum.instance(datetime.fromisoformat(text)).in_timezone("UTC")


def encode(event: CallEvent) -> dict[str, Any]:
    values = {
        "attempt_id": str(event.attempt_id),
        "event": event.kind,
        "at": event.at.isoformat(),
        "outcome": event.outcome,
        "cause": event.cause,
        "talk_seconds": event.talk_seconds,
        "call_id": event.provider_call_id,
    }
    return {name: value for name, value in values.items() if value is not None}


@asynccontextmanager
async def serve(
    port: int, config: Mapping[str, Any], journal: Path | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[FakePlatform]:
    """Run the platform; port 0 takes a free one."""
    platform = FakePlatform(config, journal)
    async with serving(platform.answer, port, host=host) as platform.server:
        posting = asyncio.create_task(platform.post_all())
        try:
            yield platform
        finally:
            posting.cancel()
            await asyncio.gather(posting, return_exceptions=True)
            platform.switch.close()


if __name__ == "__main__":
    run_as_process(serve, __doc__)
