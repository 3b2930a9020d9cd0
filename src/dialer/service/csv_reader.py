"""Parses CSV: bytes go in, rows of cells with their line numbers come out, one at a time.

UTF-8 with or without a byte order mark; comma, semicolon or tab; any line ending. A malformed file raises
UnreadableFile at the line where that shows, so whoever stores rows must store them in one transaction. Cells are not
interpreted here. Memory stays flat for any input: no row is buffered beyond MAX_ROW_BYTES.
"""

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, Protocol

from dialer.errors import DialerError, UnreadableFile

MAX_ROW_BYTES = 1024 * 1024
MAX_CELL_CHARACTERS = 65_536
MAX_COLUMNS = 512

_CHUNK_BYTES = 65_536
_DELIMITERS = ",;\t"
_BLANK = _DELIMITERS + " \r\n"
_UTF_16 = "is UTF-16, not UTF-8; save it as UTF-8"
_SIGNATURES = {
    codecs.BOM_UTF16_LE: _UTF_16,
    codecs.BOM_UTF16_BE: _UTF_16,
    b"PK\x03\x04": "is a workbook or a zip archive, not CSV; save it as CSV",
    b"\xd0\xcf\x11\xe0": "is a workbook, not CSV; save it as CSV",
    b"\x1f\x8b": "is compressed; unpack it first",
}


class Readable(Protocol):
    """A file or an upload: `read` returns chunks of any size, and an empty one at the end."""

    def read(self, size: int, /) -> bytes:
        """Return the next chunk, of about `size` bytes or of any size."""
        ...


IsHeader = Callable[[Sequence[str]], bool]


class CsvRow(NamedTuple):
    """One row of the file."""

    line: int  #: The line in which it begins, from 1.
    cells: list[str]  #: May be fewer or more than the header has.


def read_rows(stream: Readable, is_header: IsHeader) -> Iterator[CsvRow]:
    """Yield the header and then every row that is not blank.

    Args:
        stream: the file.
        is_header: chooses the delimiter: the one whose header it accepts. If it accepts none, the delimiter that gives
            the most columns is used.

    Yields:
        Rows; none where every row is blank.

    Raises:
        UnreadableFile: while iterating, possibly after many rows.
    """
    lines = _Lines(stream)
    first = _first_line(lines)
    begins_at = header_line = lines.number
    delimiter, read_ahead = _detect_delimiter(first, lines, is_header)
    reader = csv.reader(chain(read_ahead, lines), delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                _check_cells(cells, begins_at)
                yield CsvRow(begins_at, cells)
            begins_at = header_line + reader.line_num
            lines.begin_row(begins_at)
    except csv.Error as error:
        raise _malformed(str(error), begins_at, lines.number) from None


def unreadable(reason: str) -> DialerError:
    """Make the error that refuses the whole file.

    Args:
        reason: what is wrong, as a continuation of "the file …".

    Returns:
        UnreadableFile, to be raised.
    """
    return UnreadableFile.of("file", reason)


def _first_line(lines: "_Lines") -> str:
    """Skip the blank lines that spreadsheets leave above a table."""
    for line in lines:
        lines.begin_row(lines.number)
        if line.strip(_BLANK):
            return line
    return ""


def _detect_delimiter(first: str, lines: "_Lines", is_header: IsHeader) -> tuple[str, list[str]]:
    """Return the delimiter, and the lines that were read to find it: a header may span several."""
    read_ahead = [first]

    def replay() -> Iterator[str]:
        yield from read_ahead
        for line in lines:
            read_ahead.append(line)
            yield line

    headers = {delimiter: _first_row(replay(), delimiter) for delimiter in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda delimiter: (is_header(headers[delimiter]), len(headers[delimiter])))
    return best, read_ahead


def _first_row(lines: Iterator[str], delimiter: str) -> list[str]:
    try:
        return next(csv.reader(lines, delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []


class _Lines:
    """The lines of the file as text, counted; refuses a row that is too long."""

    def __init__(self, stream: Readable) -> None:
        self.number = 0
        self._raw = _split(stream)
        self.begin_row(1)

    def begin_row(self, number: int) -> None:
        """Count the bytes of a new row from this line on."""
        self._row_begins_at = number
        self._row_bytes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = next(self._raw)
        self.number += 1
        self._row_bytes += len(raw)
        if self._row_bytes > MAX_ROW_BYTES:
            raise unreadable(
                f"the row that begins in line {self._row_begins_at} is longer than {MAX_ROW_BYTES:,} bytes"
            )
        if self.number == 1:
            raw = _without_signature(raw)
        return _decode(raw, self.number)


def _split(stream: Readable) -> Iterator[bytes]:
    """Yield lines with their endings; of a line beyond MAX_ROW_BYTES only as much as shows that it is too long."""
    pending = b""
    while chunk := stream.read(_CHUNK_BYTES):
        lines = (pending + chunk).splitlines(keepends=True)
        # The last line may continue in the next chunk, perhaps only with the \n after its \r.
        pending = lines.pop()
        yield from lines
        if len(pending) > MAX_ROW_BYTES:
            yield pending
    if pending:
        yield pending


def _without_signature(raw: bytes) -> bytes:
    for signature, reason in _SIGNATURES.items():
        if raw.startswith(signature):
            raise unreadable(reason)
    if raw.count(0) * 3 > len(raw):
        raise unreadable(_UTF_16)
    return raw.removeprefix(codecs.BOM_UTF8)


def _decode(raw: bytes, number: int) -> str:
    if b"\0" in raw:
        raise unreadable(f"line {number} has a NUL character, which no text has")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise unreadable(f"line {number} is not UTF-8; save the file as UTF-8") from None


def _check_cells(cells: Sequence[str], number: int) -> None:
    if len(cells) > MAX_COLUMNS:
        raise unreadable(f"line {number} has {len(cells):,} columns; at most {MAX_COLUMNS} are read")
    if max(map(len, cells)) > MAX_CELL_CHARACTERS:
        raise _cell_too_long(number)


def _malformed(error: str, begins_at: int, ends_at: int) -> DialerError:
    """Translate the messages of the csv module: text after a closing quote, an unclosed quote, or a huge cell."""
    if "expected after" in error:
        return unreadable(
            f"line {ends_at} has text after a closing quote; inside a quoted cell a quote is written twice"
        )
    if begins_at == ends_at and "limit" in error:
        return _cell_too_long(begins_at)
    return unreadable(f"a quote opened in the row that begins in line {begins_at} is never closed")


def _cell_too_long(number: int) -> DialerError:
    return unreadable(f"a cell in line {number} is longer than {MAX_CELL_CHARACTERS:,} characters")
