"""The request being answered: its id, which is logged and returned, and the time at which it came in."""

import re
from contextvars import ContextVar
from dataclasses import dataclass
from random import Random

import structlog
from fastapi.responses import JSONResponse
from pendulum import DateTime
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dialer import tracing, wiring
from dialer.domain.ids import uuid7

log = structlog.get_logger()

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
MAX_LOGGED_PATH = 256
METHODS = {"GET", "HEAD", "POST", "PATCH", "DELETE"}
# A response is never rendered in a frame, cached, content-sniffed or run as a script.
# https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html, "Security headers"
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What every part of the API may need to know of the current request."""

    request_id: str  #: The client's `X-Request-Id` if it is acceptable, else a new id.
    now: DateTime  #: When the request came in. All steps of one request use this time.


_current: ContextVar[RequestContext] = ContextVar("request_context")


def current_request() -> RequestContext:
    """Return the context of the request that is being answered."""
    return _current.get()


class RequestContextMiddleware:
    """Gives each request an id, logs its response in one line, and answers an uncaught exception with a plain 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope["app"].state
        context = begin_request(state.clock(), state.rng, Headers(scope=scope).get("x-request-id", ""))
        status: int | None = None
        started_at = wiring.seconds()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = context.request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            with tracing.work("request", Headers(scope=scope).get("traceparent", "")) as attributes:
                await self._app(scope, receive, send_with_headers)
                attributes.update(_labels(scope, status))
        except Exception:
            log.exception("request failed", method=scope["method"], path=_loggable(scope["path"]))
            if status is None:
                await _internal_error(context)(scope, receive, send_with_headers)
        finally:
            seconds = wiring.seconds() - started_at
            log.info(
                "request",
                method=scope["method"],
                path=_loggable(scope["path"]),
                status=status,
                seconds=round(seconds, 4),
            )
            state.metrics.duration("dialer_http_request_seconds", _labels(scope, status), seconds)


def begin_request(now: DateTime, rng: Random, client_id: str = "") -> RequestContext:
    """Make a new context the current one."""
    context = RequestContext(client_id if _ACCEPTED_ID.fullmatch(client_id) else str(uuid7(now, rng)), now)
    _current.set(context)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=context.request_id)
    return context


def _loggable(path: str) -> str:
    """Return the path with control characters escaped, and cut: whoever has no key can send any path."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in path[:MAX_LOGGED_PATH]
    )


def _labels(scope: Scope, status: int | None) -> dict[str, str]:
    """Label by route, not by path (which contains ids), and by known method: a client can invent any number of both."""
    route = scope.get("route")
    method = scope["method"] if route is not None and scope["method"] in METHODS else "other"
    return {"method": method, "route": getattr(route, "path", "unmatched"), "status": str(status or "none")}


def _internal_error(context: RequestContext) -> JSONResponse:
    error = {"code": "internal_error", "message": "Something went wrong here; the logs say what", "details": []}
    meta = {"request_id": context.request_id, "ts": context.now.to_iso8601_string()}
    return JSONResponse({"error": error, "meta": meta}, 500)
