"""`dialer batch export`: the results as a file."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from dialer.cli.batch import Which
from dialer.cli.options import DataDir

group = typer.Typer()


@group.command()
def export(
    which: Which,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file.  [default: print]")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the results as CSV, one row per contact. The file is written completely or not at all."""
    import sys

    from dialer.cli.batch_names import batch_to_show
    from dialer.cli.client import connected

    with connected(data_dir) as client:
        chunks = _results(client, batch_to_show(client, which)["id"])
        if output is None:
            sys.stdout.buffer.writelines(chunks)
            return
        _write(output, chunks)


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
