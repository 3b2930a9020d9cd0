"""`dialer run` and `dialer demo`: create a batch, import its contacts, start it and watch it to its end."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dialer.cli.batch_fields import of_new_batch, takes_batch_fields
from dialer.cli.options import AsJson, DataDir, Speed


def demo(
    count: Annotated[int, typer.Option("--contacts", help="Number of contacts.", min=1, max=2_000)] = 200,
    speed: Speed = 20,
    data_dir: Annotated[Path | None, typer.Option(help="Keep all data here.  [default: deleted at the end]")] = None,
    as_json: AsJson = False,
) -> None:
    """Call generated contacts on a simulated network, with retries, and audit the result.

    Takes about a minute. Exit 0 only if every contact is final and the audit is clean. The servers are embedded unless
    DIALER_DATABASE_URL and DIALER_REDIS_URL are set.
    """
    from dialer.cli.run_batch import run_demo

    raise typer.Exit(0 if run_demo(count, speed, data_dir, as_json=as_json) else 1)


@takes_batch_fields
def run(
    file: Annotated[
        Path, typer.Argument(help="The contacts: CSV, UTF-8, with a column phone or phone_number.  -: standard input.")
    ],
    agent: Annotated[str, typer.Option(help="The agent that answered calls go to, by id or name.")],
    fields: dict[str, Any],
    name: Annotated[str | None, typer.Option(help="Name of the batch.  [default: the file's]")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Call the contacts of a CSV file: create a batch, import them, start it and watch it to its end.

    Rows that cannot be called are skipped and reported with line and reason; a file that cannot be read is refused as a
    whole. Exit 0 only if the batch is completed and its audit is clean.

    Uses the cluster of DIALER_DATABASE_URL and DIALER_REDIS_URL, or the `dialer up` that runs on the data folder; if
    there is neither, an engine is started for this run. Ctrl-C stops watching; the batch continues while its engine
    runs. If Postgres does not answer, watching is retried for a minute; calls do not depend on it.
    """
    from dialer.cli.run_batch import run_file

    named = {"name": _name_of(file)} | of_new_batch(fields) | ({} if name is None else {"name": name})
    raise typer.Exit(0 if run_file(file, agent, named, data_dir, as_json=as_json) else 1)


def _name_of(file: Path) -> str:
    return "standard input" if str(file) == "-" else file.name
