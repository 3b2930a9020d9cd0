"""Request bodies: limits of size, rate and time, and JSON validated by the services' models.

The services' models are used so that a field has one definition for HTTP and for the command line.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import anyio
from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from dialer import wiring
from dialer.api.request_context import current_request
from dialer.errors import InvalidInput, TooLarge, UnreadableBody, UnsupportedMedia
from dialer.service.fields import InputModel
from dialer.settings import Settings

F = TypeVar("F", bound=InputModel)
JSON = "application/json"
KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large and how slow a body may be. Only time spent waiting for the client counts."""

    noun: str  #: What error messages call the body: `body` or `file`.
    max_bytes: int
    stall_seconds: float  #: Longest wait for one chunk.
    total_seconds: float  #: Longest wait for all chunks together.
    min_bytes_per_second: int
    error: type[InvalidInput] = UnreadableBody  #: Raised for a body that is late or incomplete.


def json_limits(settings: Settings, max_bytes: int | None = None) -> BodyLimits:
    """Return the limits of a body that is held in memory as a whole."""
    size, seconds = max_bytes or settings.max_body_mb * MIB, settings.body_timeout_seconds
    return BodyLimits("body", size, seconds, seconds, settings.min_bytes_per_second)


class Chunks:
    """Reads a body chunk by chunk, within its limits."""

    def __init__(self, request: Request, limits: BodyLimits) -> None:
        check_length(request, limits)
        self._stream = request.stream()
        self._limits = limits
        self._size = 0
        self._waited_seconds = 0.0

    async def next(self) -> bytes:
        """Return the next chunk, empty at the end.

        Raises:
            TooLarge: the body is larger than its limit.
            InvalidInput: the body is late or incomplete (`BodyLimits.error`).
        """
        started_at = wiring.seconds()
        try:
            with anyio.fail_after(max(0.0, self._seconds_left())):
                # Starlette ends the stream with an empty chunk.
                chunk = await anext(self._stream, b"")
        except ClientDisconnect:
            raise self._error("is incomplete: the client disconnected") from None
        except TimeoutError:
            raise self._error(self._why_late()) from None
        self._waited_seconds += wiring.seconds() - started_at
        self._size += len(chunk)
        if self._size > self._limits.max_bytes:
            raise _too_large(self._limits)
        return chunk

    def _seconds_left(self) -> float:
        """Return how long the next chunk may take; negative: it is late. Bytes at the minimum rate extend it."""
        limits = self._limits
        earned = limits.stall_seconds + self._size / limits.min_bytes_per_second - self._waited_seconds
        return min(limits.stall_seconds, earned, limits.total_seconds - self._waited_seconds)

    def _why_late(self) -> str:
        limits, left = self._limits, self._seconds_left()
        if left == limits.stall_seconds:
            return f"stalled: no data for {left:g} seconds"
        if left == limits.total_seconds - self._waited_seconds:
            return f"did not arrive within {limits.total_seconds:g} seconds"
        return f"arrived more slowly than {limits.min_bytes_per_second:,} bytes per second"

    def _error(self, reason: str) -> InvalidInput:
        return self._limits.error.of(self._limits.noun, reason)


class Body(Generic[F]):
    """A JSON body, validated by `read`: a replay of an idempotency key is answered without validating it."""

    def __init__(self, model: type[F], raw: bytes, defaults: Mapping[str, Any] | None = None) -> None:
        self._model = model
        self._raw = raw
        self._defaults = defaults

    def with_defaults(self, **defaults: Any) -> "Body[F]":
        """Return the body with values for fields that are absent. Its fingerprint is that of what was sent."""
        return Body(self._model, self._raw, defaults)

    def read(self) -> F:
        """Validate all fields; raises UnreadableBody or InvalidInput."""
        return self._model.read_json(self._raw, current_request().now, self._defaults)

    def given(self) -> Any:
        """Return what was sent, once it has been validated."""
        return json.loads(self._raw)

    def fingerprint(self) -> bytes:
        """Hash the body independently of the layout of its JSON."""
        try:
            canonical = json.dumps(json.loads(self._raw), sort_keys=True).encode()
        except (ValueError, RecursionError):
            canonical = self._raw
        return hashlib.sha256(canonical).digest()


def body_of(model: type[InputModel], *, optional: bool = False) -> Any:
    """Make the dependency that reads a body of this model.

    Args:
        model: the service's model of the body.
        optional: a request without a body is valid, and every field has its default.
    """

    async def read(request: Request) -> Body[Any]:
        raw = await read_body(request)
        return Body(model, raw or b"{}" if optional else raw)

    read.body_model = model  # type: ignore[attr-defined]  # read by openapi.py
    read.optional = optional  # type: ignore[attr-defined]
    return Depends(read)


async def _no_fields(request: Request) -> Body[InputModel]:
    return Body(InputModel, await read_body(request) or b"{}")


# The parameter of an action without fields, which accepts no body, or an empty JSON object.
NoFields = Annotated[Body[InputModel], Depends(_no_fields)]


async def read_body(request: Request) -> bytes:
    """Read a JSON body; raises TooLarge beyond the configured limit, and UnsupportedMedia for what is not JSON."""
    body = await read_whole(request, json_limits(request.app.state.settings))
    if body:
        check_media_type(request, JSON)
    return body


def check_media_type(request: Request, *accepted: str) -> str:
    """Return the media type of a body, by default the first of those accepted; raises UnsupportedMedia for another."""
    media_type = request.headers.get("content-type", accepted[0]).partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMedia.of("Content-Encoding", "must be absent: bodies are not decoded")
    if media_type not in accepted:
        raise UnsupportedMedia.of("Content-Type", f"must be {' or '.join(accepted)}")
    return media_type


async def read_whole(request: Request, limits: BodyLimits) -> bytes:
    """Read a body into memory."""
    body, chunks = bytearray(), Chunks(request, limits)
    while chunk := await chunks.next():
        body += chunk
    return bytes(body)


def check_length(request: Request, limits: BodyLimits) -> None:
    """Raise TooLarge at once if `Content-Length` is over the limit."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > limits.max_bytes:
        raise _too_large(limits)


def _too_large(limits: BodyLimits) -> TooLarge:
    size = f"{limits.max_bytes // MIB:,} MiB" if limits.max_bytes >= MIB else f"{limits.max_bytes // KIB:,} KiB"
    return TooLarge(f"The {limits.noun} is larger than {size}")
