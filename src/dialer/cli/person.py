"""`dialer person`: what is held on one telephone number."""

from typing import Annotated

import typer

from dialer.cli.options import AsJson, DataDir

group = typer.Typer(no_args_is_help=True)

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="The telephone number, E.164.")]


@group.command()
def export(number: Number, data_dir: DataDir = None) -> None:
    """Print everything that the workspace holds on a number, as JSON."""
    import json

    from dialer.cli.client import connected

    with connected(data_dir) as client:
        held = client.post("/people/export", {"phone_number": number})
    typer.echo(json.dumps(held, indent=2, ensure_ascii=False))


@group.command()
def erase(number: Number, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Erase a number everywhere but in the suppressions. Refused while it is being called."""
    from dialer.cli.client import connected
    from dialer.cli.tables import show_one

    with connected(data_dir) as client:
        show_one(client.post("/people/erase", {"phone_number": number}), as_json=as_json)
