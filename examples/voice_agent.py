"""A voice agent that Dialer calls through, without a telephone: a call rings for a second and is talked to for two.

    VOICE_AGENT_SECRET=whsec_... python examples/voice_agent.py 8700

Put your own telephony in the place of `Call.run`; the rest is the protocol of docs/providers/http.md. A real platform
keeps its calls on disk, so that it still knows after a restart which ones it has been asked for.
"""

import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

WEBHOOK = Webhook(os.environ["VOICE_AGENT_SECRET"])
CALLS: dict[str, "Call"] = {}
LOCK = threading.Lock()


class Call:
    """One call, and all that has happened in it."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self.events: list[dict[str, Any]] = []
        self.hung_up = threading.Event()

    def run(self) -> None:
        print(f"{self.asked['attempt_id']}: calling {self.asked['to_number']}", flush=True)
        self.tell("ringing")
        if self.hung_up.wait(1):
            return self.tell("ended", outcome="cancelled", cause="originator_cancel")
        answered = time.monotonic()
        self.tell("answered")
        self.hung_up.wait(2)
        talked = round(time.monotonic() - answered, 3)
        return self.tell("ended", outcome="answered", cause="normal_clearing", talk_seconds=talked)

    def tell(self, event: str, **more: Any) -> None:
        """Note what happened, and report it; again and again while nobody takes it."""
        said = {"attempt_id": self.asked["attempt_id"], "event": event, "at": datetime.now(UTC).isoformat(), **more}
        self.events.append(said)
        body, message_id = json.dumps(said), f"{said['attempt_id']}-{event}"
        for pause in (0.5, 2, 10, 60):
            now = datetime.now(UTC)
            headers = {
                "content-type": "application/json",
                "webhook-id": message_id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": WEBHOOK.sign(message_id, now, body),
            }
            try:
                report = urllib.request.Request(self.asked["report_url"], body.encode(), headers)
                with urllib.request.urlopen(report, timeout=10):
                    return
            except (urllib.error.URLError, OSError) as error:
                print(f"{message_id}: not taken: {error}", flush=True)
                time.sleep(pause)


class Handler(BaseHTTPRequestHandler):
    """POST /calls · GET /calls/{attempt_id} · POST /calls/{attempt_id}/hang-up · GET /health"""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self.is_signed(body):
            return self.answer(401)
        if self.path == "/calls":
            return self.answer(*self.place(json.loads(body)))
        if self.path.endswith("/hang-up") and (call := CALLS.get(json.loads(body)["attempt_id"])):
            call.hung_up.set()
        return self.answer(204)

    def do_GET(self) -> None:
        attempt_id = self.path.rpartition("/")[2]
        # A signature covers no URL: the message's id says what is asked.
        if not self.is_signed(b"") or self.headers["webhook-id"] not in (f"look_up:{attempt_id}", "health"):
            return self.answer(401)
        if self.path == "/health":
            return self.answer(204)
        if call := CALLS.get(attempt_id):
            return self.answer(200, {"call_id": attempt_id, "events": call.events})
        # The id in it says that this is the word of the platform, and not of some web server that knows no such page.
        return self.answer(404, {"attempt_id": attempt_id})

    def place(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Take the call, once: a request that comes again is answered as the first one was."""
        attempt_id = asked["attempt_id"]
        with LOCK:
            if attempt_id not in CALLS:
                if datetime.now(UTC) >= datetime.fromisoformat(asked["place_by"]):
                    return 422, {"cause": "too_late", "cause_class": "infrastructure"}
                CALLS[attempt_id] = Call(asked)
                threading.Thread(target=CALLS[attempt_id].run, daemon=True).start()
        return 202, {"call_id": attempt_id}

    def is_signed(self, body: bytes) -> bool:
        try:
            WEBHOOK.verify(body, dict(self.headers), json_parse=False)
        except (WebhookVerificationError, ValueError):
            return False
        return True

    def answer(self, status: int, said: dict[str, Any] | None = None) -> None:
        body = b"" if said is None else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing of each request; the calls say enough."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8700), Handler)
    print(f"listening on port {server.server_address[1]}", flush=True)
    server.serve_forever()
