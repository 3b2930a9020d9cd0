import csv
import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialer.errors import UnreadableFile
from dialer.service.csv_reader import MAX_ROW_BYTES, read_rows


def has_a(header: Sequence[str]) -> bool:
    return "a" in header


def rows(content: bytes) -> list[tuple[int, list[str]]]:
    return list(read_rows(io.BytesIO(content), has_a))


def refusal(content: bytes) -> str:
    with pytest.raises(UnreadableFile) as refused:
        rows(content)
    (error,) = refused.value.errors
    assert error.field == "file"
    return error.reason


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_ending_ends_a_row(end: bytes) -> None:
    assert rows(end.join([b"a,b", b"1,2", b"3,4"])) == [(1, ["a", "b"]), (2, ["1", "2"]), (3, ["3", "4"])]


def test_a_row_is_numbered_by_the_line_in_which_it_begins() -> None:
    assert rows(b'\n \na,b\n"1\n\n1",2\n,\n\n3,4') == [(3, ["a", "b"]), (4, ["1\n\n1", "2"]), (9, ["3", "4"])]


@pytest.mark.parametrize("size", [65_532, 65_533, 65_534, 65_535, 65_536])
def test_a_line_ending_cut_in_two_by_the_end_of_a_chunk_is_one_line_ending(size: int) -> None:
    filler = b"x" * (size - len(b"a,b\r\n1,"))
    assert [line for line, _ in rows(b"a,b\r\n1," + filler + b"\r\n3,4\r\n5,6")] == [1, 2, 3, 4]


@pytest.mark.parametrize("size", range(65_530, 65_537))
def test_a_letter_cut_in_two_by_the_end_of_a_chunk_is_whole(size: int) -> None:
    filler = b"x" * (size - len(b"a\n1\n"))
    assert rows(b"a\n1\n" + filler + "€".encode())[2] == (3, [filler.decode() + "€"])


def test_a_byte_order_mark_is_no_part_of_the_header() -> None:
    assert rows(b'\xef\xbb\xbf"a",b\n') == [(1, ["a", "b"])]


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        (b"x,a", ["x", "a"]),
        (b"x;a;b,c", ["x", "a", "b,c"]),
        (b"x\ta\tb;c,d,e,f,g", ["x", "a", "b;c,d,e,f,g"]),
        (b'"x;y,z";"a"', ["x;y,z", "a"]),
        (b'"x, and\ny" ,"q"'.replace(b'" ,', b'",') + b",a", ["x, and\ny", "q", "a"]),
        (b"a", ["a"]),
        (b"x;y;z,q", ["x", "y", "z,q"]),
    ],
)
def test_the_delimiter_is_the_one_that_makes_the_wanted_column_appear(header: bytes, cells: list[str]) -> None:
    assert rows(header + b"\n")[0] == (1, cells)


def test_empty_rows_above_the_header_do_not_choose_the_delimiter() -> None:
    assert rows(b",,,\n \nx;a\n1;2") == [(3, ["x", "a"]), (4, ["1", "2"])]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\r\n \n", b";;;\n,\n"])
def test_a_file_without_text_has_no_rows(content: bytes) -> None:
    assert rows(content) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a,b\n1,2".encode("utf-16"), "is UTF-16, not UTF-8; save it as UTF-8"),
        (b"\xfe\xff" + "a,b\n1,2".encode("utf-16-be"), "is UTF-16, not UTF-8; save it as UTF-8"),
        ("a,b\n1,2".encode("utf-16-le"), "is UTF-16, not UTF-8; save it as UTF-8"),
        ("a,b\n1,2".encode("utf-16-be"), "is UTF-16, not UTF-8; save it as UTF-8"),
        (b"PK\x03\x04...", "is a workbook or a zip archive, not CSV; save it as CSV"),
        (b"a\nx\nJos\xe9\ny", "line 3 is not UTF-8; save the file as UTF-8"),
        (b"a,b\r\n1,\0\r\n", "line 2 has a NUL character, which no text has"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "a quote opened in the row that begins in line 3 is never closed"),
        (b'"a,b\n1,2\n', "a quote opened in the row that begins in line 1 is never closed"),
        (
            b'a,b\n1,"2\n3,4\n5,"6"\n',
            "line 4 has text after a closing quote; inside a quoted cell a quote is written twice",
        ),
        (b"a,b\n1," + b"x" * 65_537, "a cell in line 2 is longer than 65,536 characters"),
        (b'a,b\n"' + b"x" * 200_000 + b'"', "a cell in line 2 is longer than 65,536 characters"),
        (b"a" + b",b" * 512, "line 1 has 513 columns; at most 512 are read"),
        (b"a\n" + b"," * 600 + b"x", "line 2 has 601 columns; at most 512 are read"),
        (b"a\n" + b"x," * 600_000, "the row that begins in line 2 is longer than 1,048,576 bytes"),
        (b"a\n" + b'"\n",' * 300_000, "the row that begins in line 2 is longer than 1,048,576 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_trusted_is_refused_with_the_place(content: bytes, reason: str) -> None:
    assert refusal(content) == reason


def test_the_largest_cell_is_read() -> None:
    assert rows(b"a,b\n1," + "é".encode() * 65_536)[1] == (2, ["1", "é" * 65_536])


class Endless(io.RawIOBase):
    """A file that begins in a given way and never ends; knows how much was read of it."""

    def __init__(self, start: bytes, filling: bytes) -> None:
        self._start, self._filling, self.taken = start, filling, 0

    def read(self, size: int = -1) -> bytes:
        start, self._start = self._start, b""
        self.taken += size
        return start + self._filling * (size // len(self._filling))


@pytest.mark.parametrize(
    ("start", "filling"),
    [(b"", b"x"), (b"a\n1\n", b"x"), (b'a\n1\n"', b"x\n"), (b'a\n1\n"', b"x"), (b"a\n", b'"\n",'), (b'"', b"\r")],
)
def test_a_cell_or_row_without_end_is_refused_before_memory_fills(start: bytes, filling: bytes) -> None:
    stream = Endless(start, filling)
    with pytest.raises(UnreadableFile):
        list(read_rows(stream, has_a))
    assert stream.taken <= 2 * MAX_ROW_BYTES


def test_rows_come_out_while_the_file_is_still_being_read() -> None:
    stream = Endless(b"a,b\n", b"1,2\n")
    reading = read_rows(stream, has_a)
    assert [next(reading) for _ in range(3)][-1] == (3, ["1", "2"])
    assert stream.taken <= 2 * 65_536


def test_blank_lines_without_number_do_not_add_up_to_a_row() -> None:
    blank = (b" " * 1023 + b"\n") * 1100
    assert [line for line, _ in rows(blank + b"a\n" + blank + b"1")] == [1101, 2202]


plain_cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(
    st.lists(st.lists(plain_cells, min_size=2, max_size=4)),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_what_a_csv_writer_wrote_is_read_back(table: list[list[str]], delimiter: str, end: str) -> None:
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *table])
    read_back = [cells for _, cells in rows(written.getvalue().encode())]
    assert read_back == [["a", "b"], *[cells for cells in table if any(cell.strip() for cell in cells)]]


@given(st.binary() | st.text('a,;\t"\n\r é\ufeff').map(str.encode))
def test_any_bytes_are_rows_or_a_refusal(content: bytes) -> None:
    try:
        lines = [line for line, _ in rows(content)]
    except UnreadableFile:
        return
    assert lines == sorted(set(lines))
