"""`dialer calls`: the calls of all batches."""

from typing import Annotated

import typer

from dialer.cli.options import AsJson, DataDir, Limit, Sort

group = typer.Typer(no_args_is_help=True)

COLUMNS = ("id", "created_at", "to_number", "status", "outcome", "cause", "talk_seconds=talk")


@group.command("list")
def list_(
    batch: Annotated[str | None, typer.Option(help="Only those of this batch, by id or name.")] = None,
    phone_number: Annotated[str | None, typer.Option(help="Only those to this number, E.164.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only those with this outcome.")] = None,
    since: Annotated[str | None, typer.Option(help="Only those created at this time or later, with offset.")] = None,
    until: Annotated[str | None, typer.Option(help="Only those created before this time, with offset.")] = None,
    trunk: Annotated[str | None, typer.Option(help="Only those on this trunk, by id or name.")] = None,
    sort: Sort = None,
    limit: Limit = 50,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List calls, newest first."""
    from dialer.cli.batch_names import batch_to_show
    from dialer.cli.client import connected
    from dialer.cli.tables import show_table

    filters = {"phone_number": phone_number, "status": status, "outcome": outcome, "since": since, "until": until}
    with connected(data_dir) as client:
        batch_id = None if batch is None else batch_to_show(client, batch)["id"]
        trunk_id = None if trunk is None else client.find("/trunks", trunk)["id"]
        calls = client.some("/calls", limit, sort=sort, batch_id=batch_id, trunk_id=trunk_id, **filters)
    show_table(calls, COLUMNS, as_json=as_json)


@group.command()
def show(
    call: Annotated[str, typer.Argument(metavar="ID", help="The call.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the life of one call: when it was reserved, placed, rang, was answered and ended, and how."""
    import json

    from dialer.cli.call_life import life_of
    from dialer.cli.client import connected

    with connected(data_dir) as client:
        shown = client.get(f"/calls/{client.call_id(call)}")
    typer.echo(json.dumps(shown) if as_json else "\n".join(life_of(shown)))
