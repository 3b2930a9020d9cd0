"""Twilio as its REST API and its status callbacks show it: the Calls resource of 2010-04-01, on a simulated network.

Traps of the real one: times are whole seconds; a callback is posted once and never again (but for one that a kill
interrupts), signed over the URL that was given; a finished call cannot be updated; `canceled` does nothing to a call
that was answered; only the last callback knows whether a machine has answered.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx2

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import CauseClass
from dialer.providers.base import CallRequest, Refused, Unclear
from dialer.providers.simulator import CarrierCall
from support.networks.http_server import Answer, HttpRequest, HttpServer, Reply, serving
from support.networks.switch import Switch, now, run_as_process
from support.networks.tls import TRUSTING, with_tls
from support.networks.twilio_calls import EVENT_NAMES, callback, record, sid_of, signature

ACCOUNT_SID = "AC0123456789abcdef0123456789abcdef"
AUTH_TOKEN = "f00dfeedf00dfeedf00dfeedf00dfeed"
ENVIRONMENT = {"TRUNK_TWILIO_AUTH_TOKEN": AUTH_TOKEN, **TRUSTING}
CONNECTION = {"url": "https://agent.example/voice"}
BASE = f"/2010-04-01/Accounts/{ACCOUNT_SID}"
AUTHORIZATION = "Basic " + base64.b64encode(f"{ACCOUNT_SID}:{AUTH_TOKEN}".encode()).decode()
DEFAULT_TIMEOUT_SECONDS = 60


def trunk(port: int, scheme: str = "http", host: str = "127.0.0.1") -> dict[str, Any]:
    """A trunk to a carrier in this process; to one that is a process of its own, which speaks HTTPS: `https`."""
    config = {"account_sid": ACCOUNT_SID, "auth_token": "env:TRUNK_TWILIO_AUTH_TOKEN", "listed_after_seconds": 0}
    return {
        "name": "Twilio",
        "provider": "twilio",
        "config": {**config, "api_base_url": f"{scheme}://{host}:{port}"},
    }


def refused(status: int, code: int, message: str) -> Reply:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return Reply(status, {"code": code, "message": message, "more_info": more, "status": status})


@dataclass(frozen=True, slots=True)
class Watch:
    """Who wants to hear of a call."""

    url: str
    events: frozenset[str]
    detects: bool


def _remembered(memory: Path | None) -> Iterator[tuple[AttemptId, Watch]]:
    if memory and memory.exists():
        for line in memory.read_text().splitlines():
            attempt_id, url, events, detects = json.loads(line)
            yield AttemptId(UUID(attempt_id)), Watch(url, frozenset(events), detects)


class FakeTwilio:
    """One account. `answers`: what the next requests get, before anything is done; `asked`: all so far."""

    def __init__(self, config: Mapping[str, Any], journal: Path | None) -> None:
        self.switch = Switch(config, journal=journal, subscriber=self._deliver)
        self.answers: list[Reply | Answer] = []
        self.asked: list[HttpRequest] = []
        self.server: HttpServer
        # Twilio does not forget who wants to hear of a call, whatever happens to one of its machines.
        self._memory = journal and journal.with_suffix(".callbacks")
        self._watches = dict(_remembered(self._memory))
        self._last_post: dict[AttemptId, asyncio.Task[None]] = {}
        self._client = httpx2.AsyncClient(timeout=5, trust_env=False)

    @property
    def port(self) -> int:
        return self.server.port

    async def close(self) -> None:
        """Called twice: the same."""
        self.switch.close()
        for posting in self._last_post.values():
            posting.cancel()
        await self.server.close()
        await asyncio.gather(*self._last_post.values(), return_exceptions=True)
        await self._client.aclose()

    async def handle(self, asked: HttpRequest) -> Reply:
        self.asked.append(asked)
        if self.answers:
            answer = self.answers.pop(0)
            return answer if isinstance(answer, Reply) else await answer(asked)
        if asked.headers.get("authorization") != AUTHORIZATION:
            return refused(401, 20003, "Authenticate")
        match asked.method, asked.path.removeprefix(BASE):
            case "GET", ".json":
                return Reply(200, {"sid": ACCOUNT_SID, "status": "active", "type": "Full", "friendly_name": "Lab"})
            case "POST", "/Calls.json":
                return self._create({name: values[-1] for name, values in asked.form.items()}, asked.form)
            case "GET", "/Calls.json":
                return self._list(asked)
            case ("GET" | "POST") as method, path if path.startswith("/Calls/CA"):
                call = self._call(path.removeprefix("/Calls/").removesuffix(".json"))
                if call is not None:
                    return self._update(call, asked.form) if method == "POST" else Reply(200, self._record(call))
        return refused(404, 20404, f"The requested resource {asked.path} was not found")

    def _create(self, form: Mapping[str, str], lists: Mapping[str, list[str]]) -> Reply:
        if not form.get("Url") and not form.get("Twiml"):
            return refused(400, 21205, "Url parameter is required.")
        moment = now()
        # As the real one, it knows no attempt: this is for the journal alone.
        attempt_id = AttemptId(UUID(urlsplit(form["StatusCallback"]).path.rsplit("/", 1)[1]))
        events = frozenset(lists.get("StatusCallbackEvent", ["completed"]))
        watch = Watch(form["StatusCallback"], events, form.get("MachineDetection") == "Enable")
        self._watches[attempt_id] = watch
        if self._memory:
            with self._memory.open("a") as memory:
                memory.write(json.dumps([str(attempt_id), watch.url, sorted(events), watch.detects]) + "\n")
        seconds = int(form.get("Timeout", DEFAULT_TIMEOUT_SECONDS))
        given_up, late = moment.add(seconds=seconds), moment.add(minutes=1)
        request = CallRequest(attempt_id, form["To"], form["From"], {}, seconds, late, given_up)
        placement = self.switch.network.place(request, moment)
        if isinstance(placement, Refused):
            if placement.cause_class is CauseClass.RATE:
                # The real one would let the call wait in its queue; this one has none.
                return refused(429, 20429, "Too Many Requests")
            if placement.cause == "server_error":
                return refused(403, 10001, "Account is not active")
            return refused(400, 10004, "Call concurrency limit exceeded")
        calls = [call for call in self.switch.network.log if call.attempt_id == attempt_id]
        if calls:
            self._post(calls[-1], None)
        self.switch.pump.wake()
        if isinstance(placement, Unclear):
            return Reply(None)
        return Reply(201, self._record(calls[-1]), cut=self.switch.cuts_this_answer())

    def _list(self, asked: HttpRequest) -> Reply:
        wanted = {name: values[0] for name, values in asked.query.items()}
        size, page = int(wanted.get("PageSize", 50)), int(wanted.get("Page", 0))
        calls = [
            call
            for call in reversed(self.switch.network.log)
            if wanted.get("To", call.to_number) == call.to_number
            and wanted.get("From", call.from_number) == call.from_number
        ]
        uri, shown = f"{BASE}/Calls.json?PageSize={size}&Page=", calls[page * size :][:size]
        return Reply(200, {
            "first_page_uri": f"{uri}0",
            "next_page_uri": f"{uri}{page + 1}" if len(calls) > (page + 1) * size else None,
            "previous_page_uri": None,
            "page": page,
            "page_size": size,
            "start": page * size,
            "end": page * size + len(shown) - 1,
            "uri": f"{uri}{page}",
            "calls": [self._record(call) for call in shown],
        })  # fmt: skip

    def _update(self, call: CarrierCall, form: Mapping[str, list[str]]) -> Reply:
        moment = now()
        if call.ended_at <= moment:
            return refused(400, 21220, "Call is not in-progress. Cannot redirect.")
        was_answered = call.answered_at is not None and call.answered_at <= moment
        if form["Status"] == ["completed"] or not was_answered:
            self.switch.network.hang_up(call.attempt_id, moment)
            self.switch.pump.wake()
        changed = self._call(sid_of(call.call_id))
        assert changed is not None
        return Reply(200, self._record(changed))

    def _call(self, sid: str) -> CarrierCall | None:
        return next((call for call in self.switch.network.log if sid_of(call.call_id) == sid), None)

    def _record(self, call: CarrierCall) -> dict[str, Any]:
        watch = self._watches.get(call.attempt_id)
        return record(call, ACCOUNT_SID, now(), detects=watch is not None and watch.detects)

    def _deliver(self, due: Sequence[tuple[str, CallEvent]]) -> None:
        for name, event in due:
            call = self._call(sid_of(event.provider_call_id or ""))
            assert call is not None
            if posting := self._post(call, event.kind):
                posting.add_done_callback(partial(self._posted, name))
            else:
                self.switch.pump.acknowledge(self._deliver, [name])

    def _posted(self, name: str, posting: asyncio.Task[None]) -> None:
        """What was posted has been, whether anybody was there or not; what a kill came before is posted after it."""
        if not posting.cancelled():
            self.switch.pump.acknowledge(self._deliver, [name])

    def _post(self, call: CarrierCall, kind: EventKind | None) -> asyncio.Task[None] | None:
        """Post the callback, if anyone wants it, after those of the same call that are on their way."""
        watch = self._watches.get(call.attempt_id)
        if watch is None or (EVENT_NAMES[kind] if kind else "initiated") not in watch.events:
            return None
        fields = callback(call, ACCOUNT_SID, kind, detects=watch.detects)
        before = self._last_post.get(call.attempt_id)
        posting = asyncio.create_task(self._send(watch.url, fields, before))
        self._last_post[call.attempt_id] = posting
        return posting

    async def _send(self, url: str, fields: Mapping[str, str], before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        # Nobody is there: Twilio does not post a status callback again.
        with suppress(httpx2.HTTPError):
            await self._client.post(
                url, data=dict(fields), headers={"X-Twilio-Signature": signature(url, fields, AUTH_TOKEN)}
            )


@asynccontextmanager
async def serve(
    port: int,
    config: Mapping[str, Any],
    journal: Path | None = None,
    secure: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[FakeTwilio]:
    fake = FakeTwilio(config, journal)
    async with serving(fake.handle, port, secure, host) as fake.server:
        try:
            yield fake
        finally:
            await fake.close()


if __name__ == "__main__":
    run_as_process(partial(serve, secure=with_tls()), __doc__)
