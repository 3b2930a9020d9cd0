"""`dialer agents`, `numbers`, `trunks`, `folders`, `suppress`, `webhooks`: the resources of a workspace."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dialer.cli.options import AsJson, DataDir, FieldValues, Limit, Sort, parse_fields

if TYPE_CHECKING:
    from dialer.cli.client import Client

WhichOne = Annotated[str, typer.Argument(metavar="ID", help="By id or name.")]
# Fields that name another resource: its list, and the field that the API takes.
REFERENCES = {"trunk": ("/trunks", "trunk_id"), "agent": ("/agents", "agent_id")}


def _body(client: "Client", fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields as the API takes them: trunk=NAME becomes trunk_id=ID."""
    body = dict(fields)
    for name in REFERENCES.keys() & fields.keys():
        path, field = REFERENCES[name]
        value = body.pop(name)
        body[field] = None if value is None else client.find(path, str(value))["id"]
    return body


def _group(path: str, named_by: str, columns: Sequence[str], create_as: str = "create", *, one: str) -> typer.Typer:
    """Make the commands that every resource has. `one`: what one of them is called."""
    group = typer.Typer(no_args_is_help=True)

    @group.command("list")
    def list_(sort: Sort = None, limit: Limit = 50, data_dir: DataDir = None, as_json: AsJson = False) -> None:
        """List them, newest first."""
        from dialer.cli.client import connected
        from dialer.cli.tables import show_table

        with connected(data_dir) as client:
            rows = client.some(path, limit, sort=sort)
        show_table(rows, columns, as_json=as_json)

    @group.command()
    def show(which: WhichOne, data_dir: DataDir = None, as_json: AsJson = False) -> None:
        """Show one."""
        from dialer.cli.client import connected
        from dialer.cli.tables import show_one

        with connected(data_dir) as client:
            show_one(client.find(path, which, named_by), as_json=as_json)

    def create(field_values: FieldValues = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
        """Create one with these fields."""
        _create(parse_fields(field_values), data_dir, as_json=as_json)

    def create_number(
        field_values: FieldValues = None,
        trunk: Annotated[str | None, typer.Option(help="The trunk, by id or name.")] = None,
        agent: Annotated[str | None, typer.Option(help="The agent of the number, by id or name.")] = None,
        data_dir: DataDir = None,
        as_json: AsJson = False,
    ) -> None:
        """Create one with these fields: phone_number=+4930123456 --trunk NAME."""
        named = {"trunk": trunk, "agent": agent}
        fields = parse_fields(field_values) | {name: value for name, value in named.items() if value is not None}
        _create(fields, data_dir, as_json=as_json)

    def _create(fields: dict[str, Any], data_dir: Path | None, *, as_json: bool) -> None:
        from dialer.cli.client import connected
        from dialer.cli.tables import say, show_one

        with connected(data_dir) as client:
            created = client.post(path, _body(client, fields))
        show_one(created, as_json=as_json)
        say(f"{one} {fields.get(named_by, '')} is {'added' if create_as == 'add' else 'created'}.")

    group.command(create_as)(create_number if path == "/phone-numbers" else create)

    @group.command()
    def update(
        which: WhichOne, field_values: FieldValues = None, data_dir: DataDir = None, as_json: AsJson = False
    ) -> None:
        """Change these fields; null clears one."""
        from dialer.cli.client import connected
        from dialer.cli.tables import say, show_one

        changes = parse_fields(field_values)
        with connected(data_dir) as client:
            resource = client.find(path, which, named_by)
            url = f"{path}/{resource['id']}"
            show_one(client.request("PATCH", url, json=_body(client, changes))["data"], as_json=as_json)
        say(f"{one} {resource[named_by]} is changed.")

    @group.command("remove" if create_as == "add" else "delete")
    def delete(which: WhichOne, data_dir: DataDir = None, as_json: AsJson = False) -> None:
        """Delete one. If it is in use, set it inactive instead: update ID status=inactive."""
        from dialer.cli.client import connected
        from dialer.cli.tables import done

        with connected(data_dir) as client:
            resource = client.find(path, which, named_by)
            client.request("DELETE", f"{path}/{resource['id']}")
        verb = "removed" if create_as == "add" else "deleted"
        done({"id": resource["id"], verb: True}, f"{one} {resource[named_by]} is {verb}.", as_json=as_json)

    return group


agents = _group(
    "/agents",
    "name",
    ("id", "name", "status", "ready", "connection"),
    one="Agent",
)
numbers = _group(
    "/phone-numbers",
    "phone_number",
    (
        "id",
        "phone_number=number",
        "status",
        "trunk_id=trunk",
        "agent_id=agent",
        "max_concurrent_calls=at_once",
        "max_calls_per_day=per_day",
    ),
    one="Number",
)
trunks = _group(
    "/trunks",
    "name",
    ("id", "name", "provider", "status", "calls_per_second=per_second", "max_concurrent_calls=at_once"),
    one="Trunk",
)
folders = _group(
    "/contact-folders",
    "name",
    ("id", "name", "contacts", "created_at=created"),
    one="Folder",
)
suppress = _group(
    "/suppressions",
    "phone_number",
    ("id", "phone_number=number", "reason", "created_at=created"),
    create_as="add",
    one="Suppression of",
)
webhooks = _group(
    "/webhook-endpoints",
    "url",
    ("id", "url", "status", "events", "health.pending", "health.failures", "health.last_error=error"),
    one="Endpoint",
)


@trunks.command()
def check(which: WhichOne, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Ask the network whether calls can be placed; exit 1 if not."""
    from dialer.cli.client import connected
    from dialer.cli.tables import show_one

    with connected(data_dir) as client:
        checked = client.post(f"/trunks/{client.find('/trunks', which)['id']}/check")
    show_one(checked, as_json=as_json)
    raise typer.Exit(0 if checked["ok"] else 1)


@trunks.command("test")
def call_one(
    number: Annotated[str, typer.Argument(help="The number to call, in E.164, as in +4930123456: your own.")],
    trunk: Annotated[str, typer.Option(help="The trunk, by name.")],
    from_: Annotated[str, typer.Option("--from", help="The outbound number, one of this trunk's.")],
    agent: Annotated[str, typer.Option(help="The agent that an answered call goes to, by id or name.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before calling.")] = False,
    seconds: Annotated[int, typer.Option(help="Hang up this long after the ring time.", min=1, max=600)] = 60,
    workspace: Annotated[str, typer.Option(help="The workspace of the trunk.")] = "default",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Call one number on a trunk, outside any batch, and print every event with the network's codes.

    Exit 1 unless it was answered. Run it on a machine of the cluster whose environment has the trunk's secrets.
    Suppressed numbers are refused; calling windows do not apply.
    """
    from dialer.cli.single_call import call_once

    def confirm() -> None:
        if not yes:
            typer.confirm(f"This calls {number} now, from {from_} on trunk {trunk}. Continue?", abort=True)

    answered = call_once(workspace, number, trunk, from_, agent, seconds, data_dir, confirm, as_json=as_json)
    raise typer.Exit(0 if answered else 1)


@suppress.command("import")
def import_(file: Path, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Suppress the numbers of a CSV file (column phone or phone_number, and reason)."""
    from dialer.cli.upload import upload

    upload("/suppressions", file, data_dir, as_json=as_json)


@folders.command("import")
def import_contacts(which: WhichOne, file: Path, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Add the contacts of a CSV file to a folder."""
    from dialer.cli.client import connected
    from dialer.cli.upload import upload

    with connected(data_dir) as client:
        folder = client.find("/contact-folders", which)
    upload(f"/contact-folders/{folder['id']}/contacts", file, data_dir, as_json=as_json)


WhichEndpoint = Annotated[str, typer.Argument(metavar="ID", help="By id or URL.")]


@webhooks.command()
def deliveries(
    which: WhichEndpoint,
    status: Annotated[str | None, typer.Option(help="pending, delivered or dead.")] = None,
    limit: Limit = 50,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the messages of an endpoint, newest first."""
    from dialer.cli.client import connected
    from dialer.cli.tables import show_table

    columns = ("id", "type", "batch_id=batch", "status", "attempts=tries", "created_at=created",
               "response_status=http", "error")  # fmt: skip
    with connected(data_dir) as client:
        endpoint = client.find("/webhook-endpoints", which, "url")
        messages = client.some(f"/webhook-endpoints/{endpoint['id']}/deliveries", limit, status=status)
    show_table(messages, columns, as_json=as_json)


@webhooks.command()
def replay(
    which: WhichEndpoint,
    since: Annotated[str | None, typer.Option(help="All messages since this time.  [default: dead letters]")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again, or all messages since a time, with the same ids."""
    from dialer.cli.client import connected
    from dialer.cli.tables import show_one

    with connected(data_dir) as client:
        endpoint = client.find("/webhook-endpoints", which, "url")
        body = {"since": since} if since else {}
        show_one(client.post(f"/webhook-endpoints/{endpoint['id']}/replay", body), as_json=as_json)


@webhooks.command("rotate-secret")
def rotate_secret(which: WhichEndpoint, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Replace the secret and show the new one. Messages are signed with both for a day."""
    from dialer.cli.client import connected
    from dialer.cli.tables import show_one

    with connected(data_dir) as client:
        endpoint = client.find("/webhook-endpoints", which, "url")
        show_one(client.post(f"/webhook-endpoints/{endpoint['id']}/rotate-secret"), as_json=as_json)
