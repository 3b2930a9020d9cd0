"""Finds the batch of a name. Several batches may have the same name, since `run` names them after files.

An action uses the batch to which it applies; a report uses the one that is being called, else the newest. If several or
none remain, the candidates are listed and nothing is done.
"""

from collections.abc import Collection, Sequence
from typing import Any

import typer

from dialer.cli.client import Client
from dialer.domain.states import BatchStatus
from dialer.errors import InvalidInput

STARTED = (BatchStatus.SCHEDULED, BatchStatus.ACTIVE, BatchStatus.PAUSED)
NOT_OVER = (BatchStatus.DRAFT, *STARTED)
MAX_LISTED = 10


def batch_for_action(client: Client, id_or_name: str, among: Collection[BatchStatus]) -> str:
    """Return the id of the only batch of the name whose status is in `among`.

    If only one batch has the name it is returned in any status: the API says why the action is refused.
    """
    matches = client.find_all("/batch-calls", id_or_name)
    applicable = [batch for batch in matches if batch["status"] in among]
    if len(matches) > 1 and len(applicable) != 1:
        statuses = " or ".join(among)
        raise _ambiguous(f"{len(matches)} are called {id_or_name}, {len(applicable) or 'none'} of them {statuses}",
                         applicable or matches)  # fmt: skip
    batch_id: str = (applicable or matches)[0]["id"]
    return batch_id


def batch_to_show(client: Client, id_or_name: str) -> Any:
    """Return the only batch of the name that is being called, else the newest; print which if there are several."""
    matches = client.find_all("/batch-calls", id_or_name)
    started = [batch for batch in matches if batch["status"] in STARTED]
    if len(started) > 1:
        raise _ambiguous(f"{len(started)} that have started are called {id_or_name}", started)
    batch = (started or matches)[0]
    if len(matches) > 1:
        typer.echo(f"{len(matches)} batches are called {id_or_name}; taking {_list([batch])}.", err=True)
    return batch


def _ambiguous(problem: str, candidates: Sequence[Any]) -> InvalidInput:
    return InvalidInput.of("batch", f"{problem}; use an id: {_list(candidates)}")


def _list(batches: Sequence[Any]) -> str:
    more = f" and {len(batches) - MAX_LISTED} older ones" if len(batches) > MAX_LISTED else ""
    return ", ".join(f"{batch['id']} ({batch['status']})" for batch in batches[:MAX_LISTED]) + more
