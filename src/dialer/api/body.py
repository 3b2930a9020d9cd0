"""Bodies, each within bounds of size, rate and time; and JSON bodies, read by the services' own models, so that a field
has one definition for HTTP and the command line.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from dialer import wiring
from dialer.api.request_context import here
from dialer.errors import InvalidInput, TooLarge, UnreadableBody
from dialer.service.fields import Fields
from dialer.settings import Settings

F = TypeVar("F", bound=Fields)
KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """`what`: what the body is called. `refused`: the error for one that does not come in time, or not to its end.

    `stall_seconds`: the longest wait for a piece. `total_seconds`: how long all waits together may be.
    """

    what: str
    max_bytes: int
    stall_seconds: float
    total_seconds: float
    min_bytes_per_second: int
    refused: type[InvalidInput] = UnreadableBody


def json_limits(settings: Settings, max_bytes: int | None = None) -> BodyLimits:
    """Limit a body that is held in memory as a whole."""
    size, seconds = max_bytes or settings.max_body_mb * MIB, settings.body_timeout_seconds
    return BodyLimits("body", size, seconds, seconds, settings.min_bytes_per_second)


class Pieces:
    """The pieces of a body. Only time that is spent waiting for the client counts."""

    def __init__(self, request: Request, limits: BodyLimits) -> None:
        check_length(request, limits)
        self._stream = request.stream()
        self._limits = limits
        self._size = 0
        self._waited = 0.0

    async def next(self) -> bytes:
        """Return the next piece, empty at the end. Raises TooLarge, and `refused` for what is late or incomplete."""
        began = wiring.seconds()
        try:
            with anyio.fail_after(self._seconds_left()):
                # The stream ends with an empty piece of its own.
                piece = await anext(self._stream, b"")
        except ClientDisconnect:
            raise self._refused("ended before its end: the client went away") from None
        except TimeoutError:
            raise self._refused(self._why_late()) from None
        self._waited += wiring.seconds() - began
        self._size += len(piece)
        if self._size > self._limits.max_bytes:
            raise _too_large(self._limits)
        return piece

    def _seconds_left(self) -> float:
        """Say how long the next piece may take: what comes fast enough earns further time."""
        limits = self._limits
        earned = limits.stall_seconds + self._size / limits.min_bytes_per_second - self._waited
        return max(0.0, min(limits.stall_seconds, earned, limits.total_seconds - self._waited))

    def _why_late(self) -> str:
        limits, left = self._limits, self._seconds_left()
        if left == limits.stall_seconds:
            return f"nothing more of it came for {left:g} seconds"
        if left == limits.total_seconds - self._waited:
            return f"did not come within {limits.total_seconds:g} seconds"
        return f"came more slowly than {limits.min_bytes_per_second:,} bytes per second"

    def _refused(self, reason: str) -> InvalidInput:
        return self._limits.refused.of(self._limits.what, reason)


class Body(Generic[F]):
    """A body that came in. It is checked when it is read: a repeated request is answered before that."""

    def __init__(self, model: type[F], raw: bytes) -> None:
        self._model = model
        self._raw = raw

    def read(self) -> F:
        """Check all fields; raises UnreadableBody or InvalidInput."""
        return self._model.read_json(self._raw, here().now)

    def fingerprint(self) -> bytes:
        """Hash what is asked for, however its JSON is laid out."""
        try:
            laid_out = json.dumps(json.loads(self._raw), sort_keys=True).encode()
        except (ValueError, RecursionError):
            laid_out = self._raw
        return hashlib.sha256(laid_out).digest()


def body_of(model: type[Fields], *, optional: bool = False) -> Any:
    """Make the dependency that takes a body of this model. `optional`: without a body every field has its default."""

    async def take(request: Request) -> Body[Any]:
        raw = await read_body(request)
        return Body(model, raw or b"{}" if optional else raw)

    take.body_model = model  # type: ignore[attr-defined]  # read by openapi.py
    take.optional = optional  # type: ignore[attr-defined]
    return Depends(take)


async def read_body(request: Request) -> bytes:
    """Read a JSON body, as far as the configured limit; raises TooLarge beyond."""
    return await read_whole(request, json_limits(request.app.state.settings))


async def read_whole(request: Request, limits: BodyLimits) -> bytes:
    """Read a body into memory."""
    body, pieces = bytearray(), Pieces(request, limits)
    while piece := await pieces.next():
        body += piece
    return bytes(body)


def check_length(request: Request, limits: BodyLimits) -> None:
    """Refuse at once what says of itself that it is too large."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > limits.max_bytes:
        raise _too_large(limits)


def _too_large(limits: BodyLimits) -> TooLarge:
    size = f"{limits.max_bytes // MIB:,} MiB" if limits.max_bytes >= MIB else f"{limits.max_bytes // KIB:,} KiB"
    return TooLarge(f"The {limits.what} is larger than {size}")
