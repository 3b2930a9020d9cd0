"""Files in requests: a stream of pieces becomes a file that a thread reads, so that memory stays flat at any size.

Nothing is put aside on the way: the thread that stores the rows asks for each piece, and the client sends it then.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from anyio import CapacityLimiter, from_thread, to_thread
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from dialer.api.auth import Caller
from dialer.api.body import MIB, Body, BodyLimits, Pieces, read_body
from dialer.api.envelope import answer
from dialer.api.idempotency import Once
from dialer.api.schemas import ImportReport
from dialer.errors import InvalidInput, UnreadableBody, UnreadableFile
from dialer.service.csv_reader import Readable
from dialer.service.fields import Fields
from dialer.settings import Settings
from dialer.store.database import Database

CSV, MULTIPART, JSON = "text/csv", "multipart/form-data", "application/json"
T = TypeVar("T")
F = TypeVar("F", bound=Fields)


def _media_type(request: Request) -> str:
    """Read what kind of body it is; raises UnreadableBody where it is none of those that are understood."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (CSV, MULTIPART, JSON):
        raise UnreadableBody.of("Content-Type", f"must be {JSON}, {CSV} or {MULTIPART}")
    return kind


async def json_or_file(
    request: Request,
    caller: Caller,
    once: Once,
    model: type[F],
    add: Callable[[Database, F], BaseModel],
    store: Callable[[Readable], object],
    status: int = 200,
) -> Response:
    """Do what a JSON body asks for, once if it has an idempotency key; or store a file, and report on its rows."""
    if _media_type(request) == JSON:
        body = Body(model, await read_body(request))
        return await run_in_threadpool(once, caller, body, add, status)
    with request.app.state.uploads.one(caller.workspace_id):
        report = answer(ImportReport, await _upload(request, store))
    return Response(report.model_dump_json(), media_type=JSON)


async def _upload(request: Request, store: Callable[[Readable], T]) -> T:
    """Let a thread store the CSV file of this request while it comes in.

    Raises what `store` raises, TooLarge, and UnreadableFile for a file that never came to its end; nothing must be
    stored then.
    """
    body = _Body(Pieces(request, _limits(request.app.state.settings)))
    file: Readable = _Part(body, _boundary(request)) if _media_type(request) == MULTIPART else body
    # A thread of its own: those of other requests never wait for the client of an upload.
    return await to_thread.run_sync(store, file, limiter=CapacityLimiter(1))


def _limits(settings: Settings) -> BodyLimits:
    return BodyLimits(
        "file",
        settings.max_upload_mb * MIB,
        settings.upload_stall_seconds,
        settings.transfer_timeout_seconds,
        settings.min_bytes_per_second,
        UnreadableFile,
    )


class _Body:
    """The body of a request, read by a thread."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces

    def read(self, _: int, /) -> bytes:
        """Return the next piece, of whatever size; nothing at the end."""
        return from_thread.run(self._pieces.next)


class _Part:
    """The part `file` of a multipart body (RFC 7578)."""

    def __init__(self, body: _Body, boundary: bytes) -> None:
        self._body = body
        self._found: list[bytes] = []
        self._name = self._value = b""
        self._is_file = self._was_file = self._is_over = False
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_part,
            "on_part_data": self._add_data,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError as error:
            raise UnreadableBody.of("body", f"is no multipart body: {error}") from None

    def read(self, size: int, /) -> bytes:
        """Return the next piece of the file, of whatever size; nothing at the end."""
        while not self._found:
            piece = self._body.read(size)
            if not piece:
                self._check_end()
                return b""
            try:
                self._parser.write(piece)
            except FormParserError as error:
                raise UnreadableBody.of("body", f"is no multipart body: {error}") from None
        data = b"".join(self._found)
        self._found.clear()
        return data

    def _begin(self) -> None:
        self._is_file = False

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            field = parse_options_header(self._value)[1].get(b"name", b"").decode("utf-8", "replace")
            if field != "file" or self._was_file:
                raise InvalidInput.of(field or "body", "only one field, file, is read")
            self._is_file = self._was_file = True
        self._name = self._value = b""

    def _check_part(self) -> None:
        if not self._is_file:
            raise UnreadableBody.of("body", "has a part without a name")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._found.append(data[start:end])

    def _end(self) -> None:
        self._is_over = True

    def _check_end(self) -> None:
        if not self._is_over:
            raise UnreadableBody.of("body", "is no multipart body, or ends before its end")
        if not self._was_file:
            raise UnreadableBody.of("body", "has no field file")


def _boundary(request: Request) -> bytes:
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary")
    if not boundary:
        raise UnreadableBody.of("Content-Type", "names no boundary")
    return boundary
