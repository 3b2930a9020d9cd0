"""A voice agent that Dialer calls through, without a telephone: a call rings for a second and is talked to for two.

    VOICE_AGENT_SECRET=whsec_... python examples/voice_agent.py 8700

Put your own telephony in the place of `Call.run`; the rest is the protocol of docs/providers/http.md. A real platform
keeps its calls on disk, so that it still knows after a restart which ones it has been asked for.
"""

import asyncio
import json
import os
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx2
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from standardwebhooks import Webhook, WebhookVerificationError

WEBHOOK = Webhook(os.environ["VOICE_AGENT_SECRET"])
CALLS: dict[str, "Call"] = {}


class Call:
    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked, self.events, self.hung_up = asked, list[dict[str, Any]](), asyncio.Event()
        self.running = asyncio.create_task(self.run())

    async def run(self) -> None:
        await self.tell("ringing")
        if await self.hung_up_within(1):
            return await self.tell("ended", outcome="cancelled", cause="originator_cancel")
        await self.tell("answered")
        answered = datetime.now(UTC)
        await self.hung_up_within(2)
        talked = (datetime.now(UTC) - answered).total_seconds()
        return await self.tell("ended", outcome="answered", cause="normal_clearing", talk_seconds=talked)

    async def hung_up_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.hung_up.wait(), seconds)
        return self.hung_up.is_set()

    async def tell(self, event: str, **more: Any) -> None:
        """Note what happened, and report it; again and again while nobody takes it."""
        said = {"attempt_id": self.asked["attempt_id"], "event": event, "at": datetime.now(UTC).isoformat(), **more}
        self.events.append(said)
        body, name = json.dumps(said), f"{said['attempt_id']}-{event}"
        for pause in (0.5, 2, 10, 60):
            now = datetime.now(UTC)
            stamp = {"webhook-id": name, "webhook-timestamp": str(int(now.timestamp()))}
            headers = {**stamp, "webhook-signature": WEBHOOK.sign(name, now, body), "content-type": "application/json"}
            with suppress(httpx2.HTTPError):
                async with httpx2.AsyncClient(timeout=10) as client:
                    if (await client.post(self.asked["report_url"], content=body, headers=headers)).is_success:
                        return
            await asyncio.sleep(pause)


async def signed(request: Request) -> None:
    """Refuse what Dialer has not signed. A signature covers no URL: of a GET, the message's id says what is asked."""
    attempt_id = request.path_params.get("attempt_id")
    asked = f"look_up:{attempt_id}" if attempt_id else "health"
    try:
        WEBHOOK.verify(await request.body(), dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        raise HTTPException(401) from None
    if request.method == "GET" and request.headers["webhook-id"] != asked:
        raise HTTPException(401)


app = FastAPI(dependencies=[Depends(signed)])


@app.post("/calls")
async def place(request: Request) -> Response:
    """Take the call, once: a request that comes again is answered as the first one was."""
    asked = await request.json()
    if asked["attempt_id"] not in CALLS:
        if datetime.now(UTC) >= datetime.fromisoformat(asked["place_by"]):
            return JSONResponse({"cause": "too_late", "cause_class": "policy"}, 422)
        CALLS[asked["attempt_id"]] = Call(asked)
    return JSONResponse({"call_id": asked["attempt_id"]}, 202)


@app.get("/calls/{attempt_id}")
async def look_up(attempt_id: str) -> Response:
    if call := CALLS.get(attempt_id):
        return JSONResponse({"call_id": attempt_id, "events": call.events})
    # The id in it says that this is the word of the platform, and not of some web server that knows no such page.
    return JSONResponse({"attempt_id": attempt_id}, 404)


@app.post("/calls/{attempt_id}/hang-up", status_code=204)
async def hang_up(request: Request) -> None:
    if call := CALLS.get((await request.json())["attempt_id"]):
        call.hung_up.set()


@app.get("/health", status_code=204)
async def health() -> None:
    """Say that calls can be placed."""


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8700)) as listening:
        print(f"listening on port {listening.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])
