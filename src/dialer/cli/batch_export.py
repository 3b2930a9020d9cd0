"""`dialer batch export`: the results as a file, in CSV as the API writes them, or a line of JSON for each contact."""

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from dialer.cli.batch import Which
from dialer.cli.options import AsJson, DataDir

# Columns whose text is a number or JSON.
PARSED = ("attempts", "talk_seconds", "sip_code", "q850_cause", "variables")
FORMULAS = tuple(f"'{first}" for first in "=+-@\t\r\n")

group = typer.Typer()


@group.command()
def export(
    which: Which,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file.  [default: print]")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write the results as CSV, one row per contact; --json: as a line of JSON per contact.

    The file is written completely or not at all.
    """
    import sys

    from dialer.cli.batch_names import batch_to_show
    from dialer.cli.client import connected

    with connected(data_dir) as client:
        chunks = _results(client, batch_to_show(client, which)["id"])
        if as_json:
            chunks = _json_lines(chunks)
        if output is None:
            sys.stdout.buffer.writelines(chunks)
            return
        _write(output, chunks)


def _json_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Turn a CSV file into a line of JSON for each of its rows; an empty cell is null."""
    for row in csv.DictReader(_lines(chunks)):
        yield json.dumps({name: _value(name, cell) for name, cell in row.items()}, ensure_ascii=False).encode() + b"\n"


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (f"{line.decode()}\n" for line in lines)
    yield rest.decode()


def _value(name: str, cell: str) -> Any:
    if not cell:
        return None
    if name in PARSED:
        return json.loads(cell)
    # The API puts a quote before what a spreadsheet would run as a formula.
    return cell == "True" if name == "opt_out" else cell[1:] if cell[:2] in FORMULAS else cell


def _write(output: Path, chunks: Iterator[bytes]) -> None:
    """Write a file atomically."""
    from dialer.errors import InvalidInput

    new = output.parent / f".{output.name}.new"
    try:
        with new.open("wb") as file:
            file.writelines(chunks)
        new.replace(output)
    except OSError as error:
        raise InvalidInput.of("output", f"{output} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            new.unlink()


def _results(client: Any, batch_id: str) -> Iterator[bytes]:
    from dialer.cli.client import connection_errors_as_unavailable, raise_for_error

    with (
        connection_errors_as_unavailable(str(client.http.base_url)),
        client.http.stream("GET", f"/batch-calls/{batch_id}/results.csv") as response,
    ):
        if not response.is_success:
            response.read()
        raise_for_error(response)
        yield from response.iter_bytes()
