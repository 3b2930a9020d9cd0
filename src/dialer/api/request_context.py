"""One request and its answer: the id under which both are logged, and the moment at which the request came in."""

import re
from contextvars import ContextVar
from dataclasses import dataclass
from random import Random

import structlog
from fastapi.responses import JSONResponse
from pendulum import DateTime
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dialer import wiring
from dialer.domain.ids import uuid7

log = structlog.get_logger()

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
METHODS = {"GET", "POST", "PATCH", "DELETE"}
# Nothing here is a page of a site: an answer is never framed, sniffed, cached or taken for a script.
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
class Exchange:
    request_id: str
    now: DateTime


_current: ContextVar[Exchange] = ContextVar("exchange")


def here() -> Exchange:
    """The exchange that this code works for."""
    return _current.get()


class ExchangeMiddleware:
    """Names each request, logs its answer in one line, and turns what nobody caught into a plain 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope["app"].state
        exchange = _begin(state.clock(), state.rng, Headers(scope=scope).get("x-request-id", ""))
        status: int | None = None
        began = wiring.seconds()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = exchange.request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            if status is None:
                await _failed(exchange)(scope, receive, send_with_headers)
        finally:
            seconds = wiring.seconds() - began
            log.info("request", method=scope["method"], path=scope["path"], status=status, seconds=round(seconds, 4))
            state.measures.duration("dialer_http_request_seconds", _labels(scope, status), seconds)


def _begin(now: DateTime, rng: Random, given: str) -> Exchange:
    exchange = Exchange(given if _ACCEPTED_ID.fullmatch(given) else str(uuid7(now, rng)), now)
    _current.set(exchange)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
    return exchange


def _labels(scope: Scope, status: int | None) -> dict[str, str]:
    """Name the route and not the path, which has ids in it; and no method that a client has made up."""
    route = scope.get("route")
    method = scope["method"] if route is not None and scope["method"] in METHODS else "other"
    return {"method": method, "route": getattr(route, "path", "unmatched"), "status": str(status or "none")}


def _failed(exchange: Exchange) -> JSONResponse:
    error = {"code": "internal_error", "message": "Something went wrong here; the logs say what", "details": []}
    meta = {"request_id": exchange.request_id, "ts": exchange.now.isoformat()}
    return JSONResponse({"error": error, "meta": meta}, 500)
