"""`dialer contacts`: the contacts of a batch."""

from pathlib import Path
from typing import Annotated

import typer

from dialer.cli.options import AsJson, DataDir, FieldValues, Limit, Sort, parse_fields

group = typer.Typer(no_args_is_help=True)

WhichContact = Annotated[str, typer.Argument(metavar="CONTACT", help="By id or phone number.")]
WhichBatch = Annotated[str, typer.Argument(metavar="BATCH", help="By id or name.")]


@group.command("import")
def import_(batch: WhichBatch, file: Path, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Add the contacts of a CSV file to a batch. `-`: standard input."""
    from dialer.cli.batch_names import NOT_OVER, batch_for_action
    from dialer.cli.client import connected
    from dialer.cli.upload import upload

    with connected(data_dir) as client:
        batch_id = batch_for_action(client, batch, NOT_OVER)
    upload(f"/batch-calls/{batch_id}/contacts", file, data_dir, as_json=as_json)


@group.command("list")
def list_(
    batch: WhichBatch,
    status: Annotated[str | None, typer.Option(help="Only those in this status.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only those with this outcome.")] = None,
    phone_number: Annotated[str | None, typer.Option(help="Only this number.")] = None,
    external_id: Annotated[str | None, typer.Option(help="Only those with this id.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only those not called for this reason of explain.")] = None,
    sort: Sort = None,
    limit: Limit = 50,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the contacts of a batch in their order."""
    from dialer.cli.batch_names import batch_to_show
    from dialer.cli.client import connected
    from dialer.cli.tables import show_table

    query = {"status": status, "outcome": outcome, "phone_number": phone_number, "external_id": external_id}
    query |= {"reason": reason, "sort": sort}
    with connected(data_dir) as client:
        batch_id = batch_to_show(client, batch)["id"]
        rows = client.some(f"/batch-calls/{batch_id}/contacts", limit, **query)
    columns = ("id", "phone_number", "name", "status", "outcome", "attempts=calls", "due_at=due")
    show_table(rows, columns, as_json=as_json)


@group.command()
def show(batch: WhichBatch, contact: WhichContact, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one contact with its calls."""
    from dialer.cli.batch_names import batch_to_show
    from dialer.cli.client import connected
    from dialer.cli.explanations import contact_id_of
    from dialer.cli.tables import show_one

    with connected(data_dir) as client:
        batch_id = batch_to_show(client, batch)["id"]
        show_one(client.get(f"/batch-calls/{batch_id}/contacts/{contact_id_of(client, batch_id, contact)}"),
                 as_json=as_json)  # fmt: skip


@group.command("set")
def set_(
    batch: WhichBatch,
    contact: WhichContact,
    field_values: FieldValues = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Change a contact that is pending or waiting: priority=1 timezone=Europe/Berlin …; null clears a field."""
    from dialer.cli.batch_names import NOT_OVER, batch_for_action
    from dialer.cli.client import connected
    from dialer.cli.explanations import contact_id_of
    from dialer.cli.tables import say, show_one

    changes = parse_fields(field_values)
    with connected(data_dir) as client:
        batch_id = batch_for_action(client, batch, NOT_OVER)
        path = f"/batch-calls/{batch_id}/contacts/{contact_id_of(client, batch_id, contact)}"
        show_one(client.request("PATCH", path, json=changes)["data"], as_json=as_json)
    say(f"Contact {contact} is changed.")


@group.command()
def remove(batch: WhichBatch, contact: WhichContact, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Take a contact out of its batch: once this has returned, it is not called."""
    from dialer.cli.batch_names import NOT_OVER, batch_for_action
    from dialer.cli.client import connected
    from dialer.cli.explanations import contact_id_of
    from dialer.cli.tables import done

    with connected(data_dir) as client:
        batch_id = batch_for_action(client, batch, NOT_OVER)
        contact_id = contact_id_of(client, batch_id, contact)
        client.request("DELETE", f"/batch-calls/{batch_id}/contacts/{contact_id}")
    done({"id": contact_id, "removed": True}, f"Contact {contact} is taken out; it is not called.", as_json=as_json)
