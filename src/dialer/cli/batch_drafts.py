"""`dialer batch update | delete | clone | retry-failed`: drafts, also those made of other batches."""

from typing import Annotated, Any

import typer

from dialer.cli.batch import Which
from dialer.cli.batch_fields import takes_batch_fields
from dialer.cli.options import AsJson, DataDir
from dialer.domain.states import FINAL_BATCH, BatchStatus

group = typer.Typer()

NewName = Annotated[str | None, typer.Option("--name", help="Name of the draft.  [default: made of the batch's]")]


@group.command()
@takes_batch_fields
def update(which: Which, fields: dict[str, Any], data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Change a draft, with any fields of a batch: name=June max_concurrent_calls=20 …; null clears one."""
    from dialer.cli.batch_names import batch_for_action
    from dialer.cli.client import connected
    from dialer.cli.tables import show_one

    with connected(data_dir) as client:
        path = f"/batch-calls/{batch_for_action(client, which, [BatchStatus.DRAFT])}"
        show_one(client.request("PATCH", path, json=fields)["data"], as_json=as_json)


@group.command()
def delete(which: Which, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Delete a batch that is a draft or over, with its contacts and calls."""
    from dialer.cli.batch_names import batch_for_action
    from dialer.cli.client import connected
    from dialer.cli.tables import done

    with connected(data_dir) as client:
        batch_id = batch_for_action(client, which, [BatchStatus.DRAFT, *FINAL_BATCH])
        client.request("DELETE", f"/batch-calls/{batch_id}")
    done({"id": batch_id, "deleted": True}, f"Batch {batch_id} is deleted.", as_json=as_json)


@group.command()
def clone(which: Which, name: NewName = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Create a draft with the settings of a batch, without contacts."""
    _copy(which, "clone", {} if name is None else {"name": name}, data_dir, as_json=as_json)


@group.command("retry-failed")
def retry_failed(
    which: Which,
    outcomes: Annotated[
        list[str] | None,
        typer.Option("--outcome", help="Contacts whose last call ended so; may be repeated.  [default: those retried]"),
    ] = None,
    name: NewName = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create a draft with the settings of a batch and those of its contacts that were not reached."""
    body = ({} if name is None else {"name": name}) | ({"outcomes": outcomes} if outcomes else {})
    _copy(which, "retry-failed", body, data_dir, as_json=as_json)


def _copy(which: str, action: str, body: dict[str, Any], data_dir: Any, *, as_json: bool) -> None:
    from dialer.cli.batch_names import batch_to_show
    from dialer.cli.client import connected
    from dialer.cli.tables import done

    with connected(data_dir) as client:
        draft = client.post(f"/batch-calls/{batch_to_show(client, which)['id']}/{action}", body)
    count = draft["counts"]["total"]
    text = f"Draft {draft['id']} ({draft['name']}) has {count:,} contact{'' if count == 1 else 's'}."
    done(draft, text, as_json=as_json)
