"""`dialer batch`: operators' daily work, over the HTTP API."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from dialer.cli.batch_fields import of_new_batch, takes_batch_fields
from dialer.cli.options import AsJson, DataDir, FieldValues, Limit, Sort, parse_fields
from dialer.domain.states import BatchStatus
from dialer.errors import DialerError

group = typer.Typer(no_args_is_help=True)

Which = Annotated[
    str, typer.Argument(metavar="BATCH", help="By id or name; if several have the name, the one to which this applies.")
]
Why = Annotated[str | None, typer.Option("--reason", help="Why; kept in the history of the batch.")]
COLUMNS = ("id", "name", "status", "counts.total", "counts.completed=reached", "counts.failed",
           "calls.in_progress=calls", "created_at=created")  # fmt: skip


@group.command()
@takes_batch_fields
def create(
    name: Annotated[str, typer.Option(help="Name of the batch.")],
    agent: Annotated[str, typer.Option(help="The agent that answered calls go to, by id or name.")],
    fields: dict[str, Any],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create a draft, with any fields of a batch: timezone=Europe/Berlin max_concurrent_calls=20 …"""
    from dialer.cli.client import connected
    from dialer.cli.tables import say, show_one

    with connected(data_dir) as client:
        body = of_new_batch(fields) | {"name": name, "agent_id": client.find("/agents", agent)["id"]}
        batch = client.post("/batch-calls", body)
    show_one(batch, as_json=as_json)
    say(f"Batch {name} is a draft: add contacts with `dialer contacts import {batch['id']} FILE.csv`")


@group.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help="Only those in this status.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only those of this agent, by id or name.")] = None,
    search: Annotated[str | None, typer.Option(help="Only those whose name contains this.")] = None,
    label: Annotated[str | None, typer.Option(help="Only those with this label.")] = None,
    sort: Sort = None,
    limit: Limit = 50,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the batches, newest first."""
    from dialer.cli.client import connected
    from dialer.cli.tables import show_table

    with connected(data_dir) as client:
        agent_id = None if agent is None else client.find("/agents", agent)["id"]
        filters = {"status": status, "agent_id": agent_id, "search": search, "label": label}
        batches = client.some("/batch-calls", limit, sort=sort, **filters)
    show_table(batches, COLUMNS, as_json=as_json)


@group.command()
def show(which: Which, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show a batch with its counts."""
    from dialer.cli.batch_names import batch_to_show
    from dialer.cli.client import connected
    from dialer.cli.tables import show_one

    with connected(data_dir) as client:
        show_one(batch_to_show(client, which), as_json=as_json)


@group.command()
def explain(
    which: Which,
    contact: Annotated[
        str | None, typer.Option(metavar="ID_OR_NUMBER", help="One contact, by its id or number.  [default: all]")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Explain why the contacts of a batch, or one of them, are not being called now, and when they will be."""
    import json

    from dialer.cli.batch_names import batch_to_show
    from dialer.cli.client import connected
    from dialer.cli.explanations import batch_report, contact_id_of, contact_report

    with connected(data_dir) as client:
        batch_id = batch_to_show(client, which)["id"]
        path = f"/batch-calls/{batch_id}"
        if contact is not None:
            path += f"/contacts/{contact_id_of(client, batch_id, contact)}"
        explained = client.get(f"{path}/explain")
    report = batch_report if contact is None else contact_report
    typer.echo(json.dumps(explained) if as_json else report(explained))


@group.command()
def preview(which: Which, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say how many contacts would be called, never or too late if the batch were started; exit 1 if it cannot be."""
    import json

    from dialer.cli.batch_names import batch_to_show
    from dialer.cli.client import connected
    from dialer.cli.explanations import preview_report

    with connected(data_dir) as client:
        previewed = client.get(f"/batch-calls/{batch_to_show(client, which)['id']}/preview")
    typer.echo(json.dumps(previewed) if as_json else preview_report(previewed))
    raise typer.Exit(0 if previewed["ready"] else 1)


@group.command()
def schedule(which: Which, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Start a draft, now or at its time."""
    _act(which, "schedule", [BatchStatus.DRAFT], None, data_dir, as_json=as_json)


@group.command()
def pause(
    which: Annotated[str | None, typer.Argument(metavar="BATCH", help="By id or name.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every batch of the workspace that is started.")] = False,
    reason: Why = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Pause a batch: once this has returned, no new call starts."""
    among = [BatchStatus.ACTIVE, BatchStatus.SCHEDULED]
    if (which is None) is not everything:
        raise typer.BadParameter("name a batch, or give --all")
    if which is None:
        _pause_all(among, _given(reason=reason), data_dir, as_json=as_json)
        return
    _act(which, "pause", among, _given(reason=reason), data_dir, as_json=as_json)


@group.command()
def resume(which: Which, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Resume a paused batch."""
    _act(which, "resume", [BatchStatus.PAUSED], None, data_dir, as_json=as_json)


@group.command()
def cancel(
    which: Which,
    hang_up: Annotated[bool, typer.Option("--hang-up", help="Also end the calls in progress.")] = False,
    reason: Why = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """End a batch for good."""
    from dialer.cli.batch_names import NOT_OVER

    body = {"in_progress": "hang_up" if hang_up else "finish"} | _given(reason=reason)
    _act(which, "cancel", NOT_OVER, body, data_dir, as_json=as_json)


@group.command("set")
@takes_batch_fields
def set_(
    which: Which,
    fields: dict[str, Any],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what the change would do.")] = False,
    if_match: Annotated[
        str | None, typer.Option(help="Do nothing if the batch has changed since --dry-run showed this.")
    ] = None,
    reason: Why = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Change settings of a batch that is not over: max_concurrent_calls=5 end_time=17:30 …; null clears one."""
    from dialer.cli.batch_names import NOT_OVER, batch_for_action
    from dialer.cli.client import connected
    from dialer.cli.tables import show_one

    body = fields | _given(reason=reason, if_match=if_match)
    with connected(data_dir) as client:
        path = f"/batch-calls/{batch_for_action(client, which, NOT_OVER)}/settings"
        query = {"dry_run": "true"} if dry_run else {}
        show_one(client.request("PATCH", path, params=query, json=body)["data"], as_json=as_json)


@group.command()
def undo(which: Which, reason: Why = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Take back the latest change of settings; a second undo makes it again."""
    from dialer.cli.batch_names import NOT_OVER, batch_for_action
    from dialer.cli.client import connected
    from dialer.cli.tables import show_one

    with connected(data_dir) as client:
        path = f"/batch-calls/{batch_for_action(client, which, NOT_OVER)}/settings/undo"
        show_one(client.post(path, _given(reason=reason)), as_json=as_json)


@group.command()
def history(which: Which, limit: Limit = 50, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the changes of status and settings of a batch, newest first: when, by whom, from where, why."""
    from dialer.cli.batch_names import batch_to_show
    from dialer.cli.client import connected
    from dialer.cli.tables import show_table

    with connected(data_dir) as client:
        changes = client.some(f"/batch-calls/{batch_to_show(client, which)['id']}/history", limit)
    columns = ("at", "from_status=from", "to_status=to", "version", "changes", "by", "source", "reason")
    show_table(changes, columns, as_json=as_json)


def _pause_all(among: Collection[BatchStatus], body: dict[str, Any], data_dir: Path | None, *, as_json: bool) -> None:
    """Pause all; a batch that has stopped meanwhile is no error."""
    from dialer.cli.client import connected
    from dialer.cli.tables import done

    paused = []
    with connected(data_dir) as client:
        for status in among:
            for batch in list(client.all("/batch-calls", status=status)):
                try:
                    paused.append(client.post(f"/batch-calls/{batch['id']}/pause", body))
                except DialerError as error:
                    if error.code not in ("batch_not_active", "not_found"):
                        raise
    done(paused, f"Paused {len(paused)} batches.", as_json=as_json)


def _given(**fields: str | None) -> dict[str, Any]:
    """Return the fields of those options that are set."""
    return {name: value for name, value in fields.items() if value is not None}


def _act(
    which: str,
    action: str,
    among: Collection[BatchStatus],
    body: dict[str, Any] | None,
    data_dir: Path | None,
    *,
    as_json: bool,
) -> None:
    from dialer.cli.batch_names import batch_for_action
    from dialer.cli.client import connected
    from dialer.cli.tables import done

    with connected(data_dir) as client:
        changed = client.post(f"/batch-calls/{batch_for_action(client, which, among)}/{action}", body)
    done(changed, f"Batch {changed['id']} is {changed['status']}.", as_json=as_json)


@group.command()
def forecast(which: Which, field_values: FieldValues = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Forecast when a batch ends; optional are answer_rate=0.3 mean_talk_seconds=60 mean_ring_seconds=10."""
    from dialer.cli.batch_names import NOT_OVER, batch_for_action
    from dialer.cli.client import connected
    from dialer.cli.forecasts import show_forecast

    body = parse_fields(field_values)
    with connected(data_dir) as client:
        found = client.post(f"/batch-calls/{batch_for_action(client, which, NOT_OVER)}/forecast", body)
    show_forecast(found, as_json=as_json)


@group.command()
def watch(which: Which, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show a batch until it is over; exit 0 if it was completed. --json: a line for each change, then the batch."""
    from rich.console import Console

    from dialer.cli.batch_names import batch_to_show
    from dialer.cli.client import connected
    from dialer.cli.event_stream import first_retry_of, progress_of
    from dialer.cli.progress import display
    from dialer.cli.tables import show_one, show_progress

    with connected(data_dir) as client:
        batch_id = batch_to_show(client, which)["id"]
        readings = progress_of(client, batch_id)
        if as_json:
            for progress in readings:
                show_progress(progress)
        else:
            display(readings, Console(stderr=True), lambda: first_retry_of(client, batch_id))
        last = client.get(f"/batch-calls/{batch_id}")
    if as_json:
        show_one(last, as_json=True)
    raise typer.Exit(0 if last["status"] == "completed" else 1)
