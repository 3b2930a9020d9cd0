"""`dialer keys`: the keys of the HTTP API. Uses the database directly, since the first key cannot come from the API."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from dialer.cli.options import AsJson, DataDir, Limit
from dialer.domain.roles import Role

if TYPE_CHECKING:
    from dialer.domain.ids import KeyId, WorkspaceId
    from dialer.store.database import Database

group = typer.Typer(no_args_is_help=True)

Workspace = Annotated[str, typer.Option(help="The workspace that the key gives access to.")]


@group.command()
def create(
    role: Annotated[Role, typer.Option(help="viewer reads, operator also writes, admin also manages keys and trunks.")],
    workspace: Annotated[
        str, typer.Option(help="The workspace that the key gives access to; created if there is none.")
    ] = "default",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "key",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it once: only its hash is stored."""
    from dialer import wiring
    from dialer.cli.diagnostics import open_database
    from dialer.cli.tables import to_json
    from dialer.service import keys
    from dialer.service.keys import NewKey

    now, rng = wiring.clock(), wiring.chance()
    new = NewKey.read({"role": role, "name": name}, now)
    with open_database(data_dir) as database:
        created = keys.create(database, keys.ensure_workspace(database, workspace, now, rng), new, now, rng)
    typer.echo(to_json(created) if as_json else created["key"])
    typer.echo(f"Key {created['id']} for the {role} of workspace {workspace}; it is not shown again.", err=True)


@group.command("list")
def list_(
    workspace: Workspace = "default", limit: Limit = 50, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List the keys of a workspace, newest first, without their secrets."""
    from dialer.cli.diagnostics import open_database
    from dialer.cli.tables import say_more, show_table
    from dialer.service import keys

    with open_database(data_dir) as database:
        workspace_id = _existing(database, workspace)
        rows, total = keys.list_page(database, workspace_id, limit)
    show_table(rows, ("id", "name", "role", "created_at=created", "revoked_at=revoked"), as_json=as_json)
    if total > limit:
        say_more(limit, total)


@group.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The key, by id or name.")],
    workspace: Workspace = "default",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key; its next request is refused."""
    from dialer.cli.diagnostics import open_database
    from dialer.cli.tables import done
    from dialer.service import keys

    with open_database(data_dir) as database:
        workspace_id = _existing(database, workspace)
        key_id = _find(database, workspace_id, key)
        keys.revoke(database, workspace_id, key_id)
    done({"id": key_id, "revoked": True}, f"Key {key_id} is revoked.", as_json=as_json)


def _find(database: "Database", workspace_id: "WorkspaceId", id_or_name: str) -> "KeyId":
    """Find a key that is not revoked by its id, the last eight digits of it, or its name if only one has it."""
    from dialer.domain.ids import KeyId
    from dialer.errors import InvalidInput
    from dialer.service import keys

    try:
        return KeyId(UUID(id_or_name))
    except ValueError:
        listed, _ = keys.list_page(database, workspace_id)
    named = [str(key["id"]) for key in listed if key["revoked_at"] is None
             and (key["name"] == id_or_name or str(key["id"])[-8:] == id_or_name)]  # fmt: skip
    if len(named) == 1:
        return KeyId(UUID(named[0]))
    problem = f"{len(named)} are called {id_or_name}; use an id: {', '.join(named)}" if named else (
        f"none is called {id_or_name}; `dialer keys list` shows them")  # fmt: skip
    raise InvalidInput.of("key", problem)


def _existing(database: "Database", name: str) -> "WorkspaceId":
    from dialer.errors import NotFound
    from dialer.store import configuration

    with database.begin() as connection:
        workspace_id = configuration.find_workspace(connection, name)
    if workspace_id is None:
        raise NotFound(f"No workspace is called {name}")
    return workspace_id
