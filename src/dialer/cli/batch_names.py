"""Which batch a command means that was given a name: several batches may have it, since `run` names them after files.

An action takes the one to which it applies, a report the one that is being called, else the newest. Where that leaves
several, or none, the candidates are listed and nothing is done.
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


def to_change(client: Client, id_or_name: str, among: Collection[BatchStatus]) -> str:
    """Return the id of the batch that an action applies to: the only one of the name that is in one of `among`.

    The only batch of a name is taken in any status: the API says why the action is refused.
    """
    found = client.all_named("/batch-calls", id_or_name)
    fitting = [batch for batch in found if batch["status"] in among]
    if len(found) > 1 and len(fitting) != 1:
        wanted = " or ".join(among)
        raise _ambiguous(f"{len(found)} are called {id_or_name}, {len(fitting) or 'none'} of them {wanted}",
                         fitting or found)  # fmt: skip
    chosen: str = (fitting or found)[0]["id"]
    return chosen


def to_read(client: Client, id_or_name: str) -> Any:
    """Return the only batch of a name that is being called, else the newest; say which where there are several."""
    found = client.all_named("/batch-calls", id_or_name)
    started = [batch for batch in found if batch["status"] in STARTED]
    if len(started) > 1:
        raise _ambiguous(f"{len(started)} that have started are called {id_or_name}", started)
    chosen = (started or found)[0]
    if len(found) > 1:
        typer.echo(f"{len(found)} batches are called {id_or_name}; taking {_listed([chosen])}.", err=True)
    return chosen


def _ambiguous(what: str, candidates: Sequence[Any]) -> InvalidInput:
    return InvalidInput.of("batch", f"{what}; use an id: {_listed(candidates)}")


def _listed(batches: Sequence[Any]) -> str:
    more = f" and {len(batches) - MAX_LISTED} older ones" if len(batches) > MAX_LISTED else ""
    return ", ".join(f"{batch['id']} ({batch['status']})" for batch in batches[:MAX_LISTED]) + more
