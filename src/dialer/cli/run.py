"""`dialer run` and `dialer demo`: create a batch, import its contacts, start it and watch it to its end."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dialer.cli.options import AsJson, DataDir, Speed
from dialer.domain.rotation_strategy import RotationStrategy


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


def run(
    file: Annotated[
        Path, typer.Argument(help="The contacts: CSV, UTF-8, with a column phone or phone_number.  -: standard input.")
    ],
    agent: Annotated[str, typer.Option(help="The agent that answered calls go to, by id or name.")],
    name: Annotated[str | None, typer.Option(help="Name of the batch.  [default: the file's]")] = None,
    timezone: Annotated[str | None, typer.Option(help="Time zone of the window (IANA).  [default: UTC]")] = None,
    start_time: Annotated[str | None, typer.Option(help="HH:MM.  [default: start of the day]")] = None,
    end_time: Annotated[str | None, typer.Option(help="HH:MM.  [default: end of the day]")] = None,
    working_days: Annotated[str | None, typer.Option(help="1 = Monday.  [default: 1,2,3,4,5]")] = None,
    scheduled_at: Annotated[str | None, typer.Option(help="Start then (ISO 8601).  [default: now]")] = None,
    max_concurrent_calls: Annotated[int | None, typer.Option(help="1 to 100.  [default: 10]")] = None,
    max_calls_per_day: Annotated[
        int | None, typer.Option(help="At most so many in a day.  [default: no limit]")
    ] = None,
    max_retry_attempts: Annotated[int | None, typer.Option(help="0 to 3.  [default: 0, no retries]")] = None,
    phone_rotation_strategy: Annotated[
        RotationStrategy | None, typer.Option(help="Which number calls.  [default: random]")
    ] = None,
    default_region: Annotated[str | None, typer.Option(help="Country of national numbers, as in DE.")] = None,
    options: Annotated[str | None, typer.Option(help="Any other field of a batch, as a JSON object.")] = None,
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

    options_by_field = {
        "name": _name_of(file) if name is None else name,
        "timezone": timezone,
        "start_time": start_time,
        "end_time": end_time,
        "working_days": None if working_days is None else [day for day in working_days.split(",") if day.strip()],
        "schedule_type": scheduled_at and "scheduled",
        "scheduled_at": scheduled_at,
        "max_concurrent_calls": max_concurrent_calls,
        "max_calls_per_day": max_calls_per_day,
        "retry_failed": (max_retry_attempts or 0) > 0 or None,
        "max_retry_attempts": max_retry_attempts,
        "phone_rotation_strategy": phone_rotation_strategy,
        "default_region": default_region,
    }
    fields = {field: value for field, value in options_by_field.items() if value is not None} | _json_object(options)
    raise typer.Exit(0 if run_file(file, agent, fields, data_dir, as_json=as_json) else 1)


def _name_of(file: Path) -> str:
    return "standard input" if str(file) == "-" else file.name


def _json_object(text: str | None) -> dict[str, Any]:
    import json

    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter("must be a JSON object", param_hint="--options")
    return value
