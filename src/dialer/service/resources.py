"""What operators set up before they call: created, read, changed and deleted in one way, whatever it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from pendulum import DateTime

from dialer.domain.ids import WorkspaceId, uuid7
from dialer.errors import InvalidInput, NotFound
from dialer.service.fields import Fields
from dialer.store import resources
from dialer.store.database import Connection, Database
from dialer.store.resources import Table

View = dict[str, Any]


def _as_it_is(view: View) -> View:
    return view


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of them. `refers_to`: field -> the table in whose rows its id must be, in the same workspace.

    `seen` completes what people read; `checked` refuses what only this kind knows to be wrong (given: all values);
    `filled` gives a new one what was not said.
    """

    table: Table
    new: type[Fields]
    changed: type[Fields]
    refers_to: Mapping[str, Table]
    seen: Callable[[View], View] = _as_it_is
    checked: Callable[[View], None] = lambda _: None
    filled: Callable[[View], View] = _as_it_is


def listed(
    db: Database, kind: Kind, workspace_id: WorkspaceId, filters: Mapping[str, Any], limit: int, offset: int
) -> tuple[list[View], int]:
    """Read a page, newest first; and how many there are."""
    with db.begin() as connection:
        found, total = resources.page(connection, kind.table, workspace_id, filters, limit, offset)
        return [kind.seen(dict(row._mapping)) for row in found], total


def show(db: Database, kind: Kind, workspace_id: WorkspaceId, row_id: UUID) -> View:
    """Read one; raises NotFound."""
    with db.begin() as connection:
        return _read(connection, kind, workspace_id, row_id)


def create(db: Database, kind: Kind, workspace_id: WorkspaceId, new: Fields, now: DateTime, rng: Random) -> View:
    """Store a new one; raises InvalidInput for what cannot be, or is there already."""
    values = new.model_dump(exclude_none=True)
    kind.checked(values)
    values = kind.filled(values)
    row_id = uuid7(now, rng)
    with db.begin() as connection:
        _check_references(connection, kind, workspace_id, values)
        resources.insert(connection, kind.table, values | {"id": row_id, "workspace_id": workspace_id})
        return _read(connection, kind, workspace_id, row_id)


def change(db: Database, kind: Kind, workspace_id: WorkspaceId, row_id: UUID, changed: Fields) -> View:
    """Change what is given, and nothing else; raises NotFound and InvalidInput."""
    given = changed.model_dump(exclude_unset=True)
    with db.begin() as connection:
        kind.checked(_read(connection, kind, workspace_id, row_id) | given)
        _check_references(connection, kind, workspace_id, given)
        if given and not resources.update(connection, kind.table, workspace_id, row_id, given):
            raise _missing(kind)
        return _read(connection, kind, workspace_id, row_id)


def delete(db: Database, kind: Kind, workspace_id: WorkspaceId, row_id: UUID) -> None:
    """Delete one; raises NotFound, and StateConflict while others refer to it."""
    with db.begin() as connection:
        if not resources.delete(connection, kind.table, workspace_id, row_id):
            raise _missing(kind)


def _read(connection: Connection, kind: Kind, workspace_id: WorkspaceId, row_id: UUID) -> View:
    row = resources.read(connection, kind.table, workspace_id, row_id)
    if row is None:
        raise _missing(kind)
    return kind.seen(dict(row._mapping))


def _check_references(connection: Connection, kind: Kind, workspace_id: WorkspaceId, values: View) -> None:
    for field, table in kind.refers_to.items():
        if values.get(field) is not None and not resources.exists(connection, table, workspace_id, values[field]):
            raise InvalidInput.of(field, f"no such {table.noun} in this workspace")


def _missing(kind: Kind) -> NotFound:
    return NotFound(f"No such {kind.table.noun.replace('_', ' ')} in this workspace")
