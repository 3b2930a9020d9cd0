"""Prints resources: a table of several, the fields of one, or JSON. What was done is said on standard error.

A table fits the terminal: ids are cut to their last eight digits, which every command takes back, and long texts to
what is left. In a pipe nothing is cut. Colours mean what a status means, and are left out where NO_COLOR is set.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unicodedata import combining, east_asian_width

import typer

if TYPE_CHECKING:
    from dialer.domain.batch_progress import Progress

SHORT_ID = 8
NARROWEST = 6
GAP = "  "
COLOURS = {
    "green": ("active", "completed", "answered", "ready", "delivered", "ok"),
    "yellow": ("paused", "waiting", "scheduled", "unclear", "pending"),
    "red": ("failed", "refused", "dead", "invalid_number"),
}
COLOUR_OF = {word: colour for colour, words in COLOURS.items() for word in words}
_ID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SHORT_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d\S*")


def say(sentence: str) -> None:
    """Tell the user on standard error, so that standard output has the data alone."""
    typer.echo(sentence, err=True)


def say_more(limit: int, total: int | None = None) -> None:
    """Say that a list was cut after `limit` entries, of `total` if that is known."""
    say(f"Showing {limit:,}{'' if total is None else f' of {total:,}'}; --limit shows more")


def done(answer: Any, sentence: str, *, as_json: bool) -> None:
    """Say what was done; with --json the answer is the output, and the sentence goes to standard error."""
    if as_json:
        typer.echo(to_json(answer))
    typer.echo(sentence, err=as_json)


def show_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as a table. A column `counts.total` shows a nested value; `path=title` has a title of its own."""
    if as_json:
        typer.echo(to_json(rows))
        return
    for line in table_lines(rows, columns, terminal_width()):
        typer.echo(line)


def terminal_width() -> int | None:
    """Return how many columns standard output has; None: it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table_lines(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], width: int | None) -> Iterator[str]:
    """Yield the lines of a table of at most `width` columns; None: nothing is cut, and nothing has a colour."""
    paths = [column.partition("=")[0] for column in columns]
    titles = [title or path.rpartition(".")[2] for path, _, title in (column.partition("=") for column in columns)]
    cells = [[_cell(_nested(row, path), is_cut=width is not None) for path in paths] for row in rows]
    widths = [max(map(_width, column)) for column in zip(titles, *cells, strict=True)]
    if width is not None:
        # A time of which the end is cut says too little.
        least = [max([len(title), *(len(cell) for cell in column if _SHORT_TIME.fullmatch(cell))])
                 for title, *column in zip(titles, *cells, strict=True)]  # fmt: skip
        _narrow(widths, least, width)
    yield _styled(_line(titles, widths), bold=width is not None)
    for row in cells:
        yield _line(row, widths, is_coloured=width is not None)


def show_one(resource: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the fields of one resource."""
    lines = (f"{name}: {_text(value)}" for name, value in resource.items())
    typer.echo(to_json(resource) if as_json else "\n".join(lines))


def show_progress(progress: "Progress") -> None:
    """Print the progress of a batch as a line of JSON."""
    typer.echo(to_json(asdict(progress)))


def to_json(value: Any) -> str:
    """Write JSON, with times as the API writes them."""
    return json.dumps(value, default=_plain)


def _plain(value: object) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def _narrow(widths: list[int], least: Sequence[int], width: int) -> None:
    """Cut the widest columns until all fit, but none below its title, nor below what still says something."""
    while (excess := sum(widths) + len(GAP) * (len(widths) - 1) - width) > 0:
        room = [size if size > max(low, NARROWEST) else 0 for size, low in zip(widths, least, strict=True)]
        widest = max(room)
        if not widest:
            return
        column = room.index(widest)
        second = max([size for size in room if size < widest], default=0)
        widths[column] -= min(excess, widest - max(least[column], NARROWEST), max(1, widest - second))


def _line(cells: Sequence[str], widths: Sequence[int], *, is_coloured: bool = False) -> str:
    padded = [_fitted(cell, width) for cell, width in zip(cells, widths, strict=True)]
    if is_coloured:
        padded = [_styled(text, COLOUR_OF.get(cell)) for text, cell in zip(padded, cells, strict=True)]
    return GAP.join(padded).rstrip()


def _fitted(cell: str, width: int) -> str:
    """Cut a text to a width, or fill it up with spaces."""
    if _width(cell) > width:
        while _width(cell) >= width:
            cell = cell[:-1]
        cell += "…"
    return cell + " " * (width - _width(cell))


def _width(text: str) -> int:
    """Return how many columns a terminal uses for a text: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def _styled(text: str, colour: str | None = None, *, bold: bool = False) -> str:
    if not (colour or bold) or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return typer.style(text, fg=colour, bold=bold or None)


def _nested(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value[name]
    return value


def _cell(value: Any, *, is_cut: bool) -> str:
    text = _text(round(value, 2) if is_cut and isinstance(value, float) else value)
    if is_cut and _ID.fullmatch(text):
        return text[-SHORT_ID:]
    return _TIME.sub(r"\1 \2", text) if is_cut else text


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return json.dumps(value, default=_plain, ensure_ascii=False)
        case _:
            # What others have written must not move the cursor, nor break a line.
            return "".join(char if char.isprintable() else " " for char in _plain(value))
