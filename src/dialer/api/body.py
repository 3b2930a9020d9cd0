"""JSON bodies: read by the services' own models, so that a field has one definition for HTTP and the command line."""

import hashlib
import json
from typing import Any, Generic, TypeVar

from fastapi import Depends, Request

from dialer.api.exchange import here
from dialer.errors import TooLarge
from dialer.service.fields import Fields

F = TypeVar("F", bound=Fields)
MIB = 1024 * 1024


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
    limit = request.app.state.settings.max_body_mb * MIB
    check_length(request, limit, "body")
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise too_large(limit, "body")
        pieces.append(piece)
    return b"".join(pieces)


def check_length(request: Request, limit: int, what: str) -> None:
    """Refuse at once what says of itself that it is too large."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise too_large(limit, what)


def too_large(limit: int, what: str) -> TooLarge:
    return TooLarge(f"The {what} is larger than {limit // MIB:,} MiB")
