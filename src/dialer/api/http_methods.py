"""HEAD on every path that has GET, and requests of web pages of other origins (CORS).

https://fetch.spec.whatwg.org/#http-cors-protocol; without credentials: a key is sent by the page, never by the browser.
"""

from functools import cache

import anyio
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SENT = ("Authorization", "Content-Type", "Last-Event-ID", "X-Idempotency-Key", "X-Request-Id")
_READ = ("Content-Disposition", "Idempotent-Replayed", "Retry-After", "X-Request-Id")


class HeadMiddleware:
    """Answers HEAD with the status and the headers that GET would have (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        answered, received = anyio.Event(), False

        async def send_head(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                answered.set()

        async def receive_head() -> Message:
            """Return the request, and then that the client is gone: a stream ends, and gives back what it holds."""
            nonlocal received
            if not received:
                received = True
                return await receive()
            await answered.wait()
            return {"type": "http.disconnect"}

        # A copy: the server must go on to see HEAD.
        as_get = dict(scope, method="GET")
        await self._app(as_get, receive_head, send_head)
        # The metrics count by route.
        scope["route"] = as_get.get("route")
        await send({"type": "http.response.body", "body": b""})


class CorsMiddleware:
    """Lets web pages of the origins in DIALER_CORS_ORIGINS use /v1."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._allowing = cache(self._make)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_api = scope["type"] == "http" and scope["path"].startswith("/v1/")
        origins = scope["app"].state.settings.cors_origins if is_api else ()
        await (self._allowing(origins) if origins else self._app)(scope, receive, send)

    def _make(self, origins: tuple[str, ...]) -> ASGIApp:
        methods = ("GET", "HEAD", "POST", "PATCH", "DELETE")
        return CORSMiddleware(
            self._app, allow_origins=origins, allow_methods=methods, allow_headers=_SENT, expose_headers=_READ
        )
