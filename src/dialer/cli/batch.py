"""`dialer batch`: operators' daily work, over the HTTP API."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from dialer.cli.options import AsJson, DataDir, FieldValues, fields
from dialer.domain.states import BatchStatus

batch = typer.Typer(help="Batches: create, list, show, schedule, pause, resume, cancel, watch, export.",
                    no_args_is_help=True)  # fmt: skip

Which = Annotated[
    str, typer.Argument(metavar="BATCH", help="By id or name; of several with the name, the one that this applies to.")
]
COLUMNS = ("id", "name", "status", "counts.total", "counts.completed", "counts.failed", "calls.in_progress")


@batch.command()
def create(
    name: Annotated[str, typer.Option(help="Name of the batch.")],
    agent: Annotated[str, typer.Option(help="The agent that answered calls go to, by id or name.")],
    given: FieldValues = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create a draft, with any fields of a batch: timezone=Europe/Berlin max_concurrent_calls=20 …"""
    from dialer.cli.client import connected
    from dialer.cli.tables import show_one

    settings = fields(given)
    with connected(data_dir) as client:
        body = settings | {"name": name, "agent_id": client.named("/agents", agent)["id"]}
        show_one(client.post("/batch-calls", body), as_json=as_json)


@batch.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help="Only those in this status.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the batches, newest first."""
    from dialer.cli.client import connected
    from dialer.cli.tables import show_table

    with connected(data_dir) as client:
        show_table(list(client.all("/batch-calls", status=status)), COLUMNS, as_json=as_json)


@batch.command()
def show(which: Which, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show a batch with its counts."""
    from dialer.cli.batch_names import to_read
    from dialer.cli.client import connected
    from dialer.cli.tables import show_one

    with connected(data_dir) as client:
        show_one(to_read(client, which), as_json=as_json)


@batch.command()
def schedule(which: Which, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Start a draft, now or at its time."""
    _act(which, "schedule", [BatchStatus.DRAFT], None, data_dir, as_json=as_json)


@batch.command()
def pause(which: Which, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Stop: once this has returned, no new call is started."""
    _act(which, "pause", [BatchStatus.ACTIVE, BatchStatus.SCHEDULED], None, data_dir, as_json=as_json)


@batch.command()
def resume(which: Which, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Go on with a paused batch."""
    _act(which, "resume", [BatchStatus.PAUSED], None, data_dir, as_json=as_json)


@batch.command()
def cancel(
    which: Which,
    hang_up: Annotated[bool, typer.Option("--hang-up", help="End the calls in progress, too.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """End a batch for good."""
    from dialer.cli.batch_names import NOT_OVER

    body = {"in_progress": "hang_up" if hang_up else "finish"}
    _act(which, "cancel", NOT_OVER, body, data_dir, as_json=as_json)


def _act(
    which: str,
    action: str,
    among: Collection[BatchStatus],
    body: dict[str, Any] | None,
    data_dir: Path | None,
    *,
    as_json: bool,
) -> None:
    import json

    from dialer.cli.batch_names import to_change
    from dialer.cli.client import connected

    with connected(data_dir) as client:
        one = client.post(f"/batch-calls/{to_change(client, which, among)}/{action}", body)
    typer.echo(json.dumps(one) if as_json else f"Batch {one['id']} is {one['status']}.")


@batch.command()
def watch(which: Which, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show a batch until it is over; exit 0 if it was completed."""
    from rich.console import Console

    from dialer.cli.batch_names import to_read
    from dialer.cli.client import connected
    from dialer.cli.event_stream import progress_of
    from dialer.cli.progress import display
    from dialer.cli.tables import show_one

    with connected(data_dir) as client:
        batch_id = to_read(client, which)["id"]
        display(progress_of(client, batch_id), Console(stderr=True))
        last = client.get(f"/batch-calls/{batch_id}")
    if as_json:
        show_one(last, as_json=True)
    raise typer.Exit(0 if last["status"] == "completed" else 1)


@batch.command()
def export(
    which: Which,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file.  [default: print]")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the results as CSV, a row a contact. A file is there whole or not at all."""
    import sys

    from dialer.cli.batch_names import to_read
    from dialer.cli.client import connected

    with connected(data_dir) as client:
        pieces = _results(client, to_read(client, which)["id"])
        if output is None:
            sys.stdout.buffer.writelines(pieces)
            return
        _write(output, pieces)


def _write(output: Path, pieces: Iterator[bytes]) -> None:
    """Write a file, whole or not at all."""
    from dialer.errors import InvalidInput

    new = output.parent / f".{output.name}.new"
    try:
        with new.open("wb") as file:
            file.writelines(pieces)
        new.replace(output)
    except OSError as error:
        raise InvalidInput.of("output", f"{output} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            new.unlink()


def _results(client: Any, batch_id: str) -> Iterator[bytes]:
    from dialer.cli.client import check, reaching

    with (
        reaching(str(client.http.base_url)),
        client.http.stream("GET", f"/batch-calls/{batch_id}/results.csv") as answer,
    ):
        if not answer.is_success:
            answer.read()
        check(answer)
        yield from answer.iter_bytes()
