"""File uploads: a thread reads the CSV file of a request as a stream, so memory stays flat at any size.

Nothing is spooled to disk: the thread that stores the rows asks for each chunk, and only then is it received.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, from_thread, to_thread
from fastapi import Request, Response
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from dialer.api.auth import Caller
from dialer.api.body import JSON, MIB, BodyLimits, Chunks, check_media_type
from dialer.api.envelope import answer
from dialer.api.schemas import ImportReport
from dialer.domain.import_result import ImportResult
from dialer.errors import InvalidInput, UnreadableBody, UnreadableFile
from dialer.service.csv_reader import Readable
from dialer.settings import Settings

CSV, MULTIPART = "text/csv", "multipart/form-data"
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def is_json(request: Request) -> bool:
    """Return whether the body is JSON rather than a file; raises UnsupportedMedia for an unknown content type."""
    return _media_type(request) == JSON


@contextmanager
def csv_upload(request: Request, caller: Caller) -> Iterator[Readable]:
    """Take an upload slot and yield the CSV file of this request; only a thread of `run_import` may read it.

    Reading raises TooLarge, and UnreadableFile for a file that does not arrive completely; whoever stores its rows must
    store none then. Raises Busy where too many uploads run.
    """
    with request.app.state.uploads.slot(caller.workspace_id):
        body = _BodyFile(Chunks(request, _limits(request.app.state.settings)))
        yield _MultipartFile(body, _boundary(request)) if _media_type(request) == MULTIPART else body


async def run_import(work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run `work`, which reads an upload, in a thread of its own: the threads of other requests never wait for it."""
    return await to_thread.run_sync(work, *args, limiter=CapacityLimiter(1))


def import_response(result: ImportResult) -> Response:
    """Build the response that says what became of each row of a file."""
    return Response(answer(ImportReport, result).model_dump_json(), media_type=JSON)


def _media_type(request: Request) -> str:
    return check_media_type(request, JSON, CSV, MULTIPART)


def _limits(settings: Settings) -> BodyLimits:
    return BodyLimits(
        "file",
        settings.max_upload_mb * MIB,
        settings.upload_stall_seconds,
        settings.transfer_timeout_seconds,
        settings.min_bytes_per_second,
        UnreadableFile,
    )


class _BodyFile:
    """The whole body as a file; `read` is called in a worker thread."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    def read(self, _: int, /) -> bytes:
        """Return the next chunk, of any size; empty at the end."""
        return from_thread.run(self._chunks.next)


class _MultipartFile:
    """The field `file` of a multipart body (RFC 7578) as a file."""

    def __init__(self, body: _BodyFile, boundary: bytes) -> None:
        self._body = body
        self._data: list[bytes] = []
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
        """Return the next chunk of the file, of any size; empty at the end."""
        while not self._data:
            chunk = self._body.read(size)
            if not chunk:
                self._check_end()
                return b""
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise UnreadableBody.of("body", f"is no multipart body: {error}") from None
        data = b"".join(self._data)
        self._data.clear()
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
        self._data.append(data[start:end])

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
