"""An HTTP platform for Dialer without a telephone: each call rings for a second and talks for two.

    VOICE_AGENT_SECRET=whsec_... python examples/voice_agent.py 8700

Replace `Call.run` with your own telephony; the rest is the protocol of docs/providers/http.md. A real platform stores
its calls on disk, so that it can still answer look-ups after a restart.
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
    def __init__(self, request: dict[str, Any]) -> None:
        self.request, self.events, self.hung_up = request, list[dict[str, Any]](), asyncio.Event()
        self.running = asyncio.create_task(self.run())

    async def run(self) -> None:
        await self.report("ringing")
        if await self.hung_up_within(1):
            return await self.report("ended", outcome="cancelled", cause="originator_cancel")
        await self.report("answered")
        answered_at = datetime.now(UTC)
        await self.hung_up_within(2)
        talk_seconds = (datetime.now(UTC) - answered_at).total_seconds()
        return await self.report("ended", outcome="answered", cause="normal_clearing", talk_seconds=talk_seconds)

    async def hung_up_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.hung_up.wait(), seconds)
        return self.hung_up.is_set()

    async def report(self, event: str, **fields: Any) -> None:
        """Store the event for look-ups, and send it to Dialer; with retries until it is accepted."""
        attempt_id = self.request["attempt_id"]
        report = {"attempt_id": attempt_id, "event": event, "at": datetime.now(UTC).isoformat(), **fields}
        self.events.append(report)
        body, message_id = json.dumps(report), f"{attempt_id}-{event}"
        for backoff_seconds in (0.5, 2, 10, 60):
            now = datetime.now(UTC)
            headers = {
                "webhook-id": message_id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": WEBHOOK.sign(message_id, now, body),
                "content-type": "application/json",
            }
            with suppress(httpx2.HTTPError):
                async with httpx2.AsyncClient(timeout=10) as client:
                    if (await client.post(self.request["report_url"], content=body, headers=headers)).is_success:
                        return
            await asyncio.sleep(backoff_seconds)


async def signed(request: Request) -> None:
    """Refuse requests without Dialer's signature. It does not cover the URL: a GET must name its action in the id."""
    attempt_id = request.path_params.get("attempt_id")
    expected_id = f"look_up:{attempt_id}" if attempt_id else "health"
    try:
        WEBHOOK.verify(await request.body(), dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        raise HTTPException(401) from None
    if request.method == "GET" and request.headers["webhook-id"] != expected_id:
        raise HTTPException(401)


app = FastAPI(dependencies=[Depends(signed)])


@app.post("/calls")
async def place(request: Request) -> Response:
    """Place the call once. A repeated request gets the first answer and places no second call."""
    call = await request.json()
    attempt_id = call["attempt_id"]
    if attempt_id not in CALLS:
        if datetime.now(UTC) >= datetime.fromisoformat(call["place_by"]):
            return JSONResponse({"cause": "too_late", "cause_class": "policy"}, 422)
        CALLS[attempt_id] = Call(call)
    return JSONResponse({"call_id": attempt_id}, 202)


@app.get("/calls/{attempt_id}")
async def look_up(attempt_id: str) -> Response:
    if call := CALLS.get(attempt_id):
        return JSONResponse({"call_id": attempt_id, "events": call.events})
    # Dialer accepts "never placed" only with this body: a plain 404 may come from a web server with a wrong URL.
    return JSONResponse({"attempt_id": attempt_id}, 404)


@app.post("/calls/{attempt_id}/hang-up", status_code=204)
async def hang_up(request: Request) -> None:
    if call := CALLS.get((await request.json())["attempt_id"]):
        call.hung_up.set()


@app.get("/health", status_code=204)
async def health() -> None:
    """Answer 204: calls can be placed."""


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8700)) as listening:
        print(f"listening on port {listening.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])
