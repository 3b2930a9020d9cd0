"""`dialer keys`: who may use the HTTP API. Straight on the database, for there is no key before the first."""

import json
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from dialer.cli.options import AsJson, DataDir
from dialer.domain.roles import Role

if TYPE_CHECKING:
    from dialer.domain.ids import WorkspaceId
    from dialer.store.database import Database

keys = typer.Typer(help="The keys of the HTTP API: create, list, revoke.", no_args_is_help=True)

Workspace = Annotated[str, typer.Option(help="The workspace whose rows the key opens.")]


@keys.command()
def create(
    role: Annotated[Role, typer.Option(help="viewer reads, operator writes, admin also keeps keys and trunks.")],
    workspace: Annotated[
        str, typer.Option(help="The workspace whose rows the key opens; made if there is none.")
    ] = "default",
    name: Annotated[str, typer.Option(help="What it is for.")] = "key",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    from dialer import wiring
    from dialer.cli.diagnostics import opened
    from dialer.service import keys as service
    from dialer.service.keys import NewKey

    now, rng = wiring.clock(), wiring.chance()
    new = NewKey.read({"role": role, "name": name}, now)
    with opened(data_dir) as database:
        made = service.create(database, service.workspace(database, workspace, now, rng), new, now, rng)
    typer.echo(json.dumps(made, default=str) if as_json else made["key"])
    typer.echo(f"Key {made['id']} for the {role} of workspace {workspace}; it is not shown again.", err=True)


@keys.command("list")
def list_(workspace: Workspace = "default", data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the keys of a workspace, without their secrets."""
    from dialer.cli.diagnostics import opened
    from dialer.cli.tables import show_table
    from dialer.service import keys as service

    with opened(data_dir) as database:
        workspace_id = _existing(database, workspace)
        found, _ = service.listed(database, workspace_id)
    show_table(found, ("id", "name", "role", "created_at", "revoked_at"), as_json=as_json)


@keys.command()
def revoke(
    key_id: Annotated[UUID, typer.Argument(help="The id of the key, as `list` shows it.")],
    workspace: Workspace = "default",
    data_dir: DataDir = None,
) -> None:
    """Make a key worthless at once."""
    from dialer.cli.diagnostics import opened
    from dialer.domain.ids import KeyId
    from dialer.service import keys as service

    with opened(data_dir) as database:
        service.revoke(database, _existing(database, workspace), KeyId(key_id))
    typer.echo(f"Key {key_id} is revoked.", err=True)


def _existing(database: "Database", name: str) -> "WorkspaceId":
    from dialer.errors import NotFound
    from dialer.store import configuration

    with database.begin() as connection:
        found = configuration.find_workspace(connection, name)
    if found is None:
        raise NotFound(f"No workspace is called {name}")
    return found
