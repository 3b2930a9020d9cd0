"""HTTP/1.1 with limits on connections, bytes and time per client.

uvicorn limits neither how long a client may take to send a header nor how long it may leave a response unread, and with
httptools not the size of a header either. Bodies are limited where they are read (`body.py`).
"""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi.datastructures import State
from fastapi.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dialer.api.envelope import ErrorBody
from dialer.api.errors import error_response
from dialer.api.request_context import SECURITY_HEADERS, begin_request

KIB = 1024
MAX_HEADER_BYTES = 64 * KIB
# Pipelined requests that may wait on a connection while one is being answered.
MAX_PIPELINED = 8
# Connections beyond the limit get a 503; beyond this multiple of the limit they are closed without a response.
HARD_LIMIT = 2
ERRORS = {
    HTTPStatus.BAD_REQUEST: ErrorBody(
        code="bad_request", message="This is no HTTP/1.1 request, or too many are pipelined"
    ),
    HTTPStatus.REQUEST_TIMEOUT: ErrorBody(code="header_timeout", message="The header was not sent in time"),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ErrorBody(
        code="header_too_large", message=f"The header is larger than {MAX_HEADER_BYTES // KIB} KiB"
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: ErrorBody(code="busy", message="Too many connections are open; try again later"),
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a connection."""

    max_connections: int  #: Of this process.
    header_seconds: float  #: In which a client must send each header.
    send_seconds: float  #: In which a client must read what is buffered for it.
    # The rest of a refused body is read and discarded up to these limits. Closing a connection with unread bytes would
    # reset it, and the client would never see the response.
    discard_bytes: int = 64 * KIB * KIB
    discard_seconds: float = 30.0


class _Deadline:
    """Calls `on_timeout` unless it is stopped in time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, on_timeout: Callable[[], None]) -> None:
        self._loop, self._seconds, self._on_timeout = loop, seconds, on_timeout
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start the timer, unless it runs already."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._fire)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._on_timeout()


class _HalfClosingTransport:
    """The transport that uvicorn sees: `close` first reads the rest of a refused body."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self._close = close
        self.is_half_closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Discard what an application still answers to a client that was refused: uvloop raises for a closed socket."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self.is_half_closed or self._transport.is_closing()

    def close(self) -> None:
        self._close()


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A subclass sets `bounds`."""

    bounds: Bounds

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._is_in_request = False
        self._header_bytes = 0
        # Bytes received since the parser last saw a complete header or part of a body.
        self._unparsed_bytes = 0
        self._discarded_bytes = 0
        self._header = _Deadline(self.loop, self.bounds.header_seconds, self._header_is_late)
        self._sending = _Deadline(self.loop, self.bounds.send_seconds, self._abort)
        self._discarding = _Deadline(self.loop, self.bounds.discard_seconds, self._abort)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._socket = transport
        self._transport = _HalfClosingTransport(transport, self._close)
        super().connection_made(self._transport)  # type: ignore[arg-type]
        self._header.start()
        if len(self.connections) > HARD_LIMIT * self.bounds.max_connections:
            self._abort()
        elif len(self.connections) > self.bounds.max_connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def connection_lost(self, exc: Exception | None) -> None:
        for deadline in (self._header, self._sending, self._discarding):
            deadline.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_answered():
            self._discarded_bytes += len(data)
            if self._discarded_bytes > self.bounds.discard_bytes:
                self._abort()
                return
        if self._transport.is_half_closed and not self._is_in_request:
            return
        if not self._is_in_request:
            self._header.start()
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._header.start()
        self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._header.stop()
        self._is_in_request = True
        self._unparsed_bytes = 0
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            raise ValueError("too many requests at once on one connection")

    def _unsupported_upgrade_warning(self) -> None:
        """Leave no warning: any client can ask for an upgrade, as often as it likes."""

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_in_request = False
        self._unparsed_bytes = self._discarded_bytes = 0
        self._discarding.stop()
        super().on_message_complete()
        if self._transport.is_half_closed:
            self._close()
        elif self.cycle.response_complete:
            # uvicorn starts its keep-alive timer after the response, and stops it when more of this request arrives.
            self._header.start()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_answered():
            self._discarding.start()

    def send_400_response(self, _: str) -> None:
        is_too_large = self._header_bytes > MAX_HEADER_BYTES
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if is_too_large else HTTPStatus.BAD_REQUEST)

    def shutdown(self) -> None:
        """Close the connection on shutdown, without waiting for the rest of a refused body."""
        if self._is_answered():
            self._abort()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        self._sending.start()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._sending.stop()
        super().resume_writing()

    def _count_header(self, size: int) -> None:
        """Count the bytes of a header; the parser turns the error into a call of `send_400_response`."""
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError("the header is too large")

    def _is_answered(self) -> bool:
        """Return whether bytes received now belong to a request that was answered already."""
        return self._transport.is_half_closed or (self._is_in_request and self.cycle.response_complete)

    def _header_is_late(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            # A pipelined request waits until this one is answered; its header gets its time then.
            self._header.start()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _refuse(self, status: HTTPStatus) -> None:
        """Respond without calling the application, and close."""
        if self._is_answered():
            self._abort()
        if self._transport.is_closing():
            return
        response = copy_context().run(_refusal, self.config.app.state, status)  # type: ignore[union-attr]
        lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), *map(b": ".join, response.raw_headers), b"", b""]
        self._transport.write(b"\r\n".join(lines) + response.body)
        self._half_close()

    def _close(self) -> None:
        if self._is_in_request and not self._socket.is_closing():
            self._half_close()
        else:
            self._sending.start()
            self._socket.close()

    def _half_close(self) -> None:
        self._transport.is_half_closed = True
        self._header.stop()
        self._socket.write_eof()
        self._discarding.start()
        self.flow.resume_reading()

    def _abort(self) -> None:
        """Close at once and drop unsent bytes."""
        self._socket.abort()


def _refusal(state: State, status: HTTPStatus) -> JSONResponse:
    """Build the response to a request that the application does not see."""
    begin_request(state.clock(), state.rng)
    return error_response(status, ERRORS[status], SECURITY_HEADERS | {"Connection": "close", "Retry-After": "5"})
