"""A webhook endpoint over real sockets, on a free port of loopback, that answers as a test tells it to."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from support.deadline import DEADLINE_SECONDS
from support.networks.http_server import HttpRequest, HttpServer, Reply


@dataclass
class WebhookReceiver:
    """`answer`: what it answers to a request; by default 204. `is_held`: it does not answer until this is false.
    `requests`: what it has received.
    """

    answer: Callable[[HttpRequest], Reply] = lambda _: Reply(204)
    requests: list[HttpRequest] = field(default_factory=list)
    url: str = ""
    is_held: bool = False

    @property
    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.requests]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.requests]

    async def reply(self, request: HttpRequest) -> Reply:
        self.requests.append(request)
        while self.is_held:
            await asyncio.sleep(0.01)
        return self.answer(request)


@contextmanager
def receiving(answer: Callable[[HttpRequest], Reply] = lambda _: Reply(204)) -> Iterator[WebhookReceiver]:
    """Serve an endpoint in a thread."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    receiver = WebhookReceiver(answer)
    server = asyncio.run_coroutine_threadsafe(HttpServer.start(receiver.reply), loop).result(DEADLINE_SECONDS)
    receiver.url = f"http://127.0.0.1:{server.port}/hook"
    try:
        yield receiver
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(DEADLINE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_SECONDS)
        loop.close()
