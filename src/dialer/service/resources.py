"""Agents, numbers, trunks, folders and suppressions: one way to create, read, change and delete all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from pendulum import DateTime

from dialer.domain.ids import WorkspaceId, uuid7
from dialer.errors import InvalidInput, NotFound
from dialer.service.fields import InputModel
from dialer.store import resources
from dialer.store.database import Connection, Database
from dialer.store.resources import ResourceTable

View = dict[str, Any]


def _unchanged(view: View) -> View:
    return view


@dataclass(frozen=True, slots=True)
class ResourceType:
    """What distinguishes one type of resource from the others."""

    table: ResourceTable
    new: type[InputModel]  #: Body of POST.
    changed: type[InputModel]  #: Body of PATCH.
    refers_to: Mapping[str, ResourceTable]  #: Field -> the table that must have its id, in the same workspace.
    complete: Callable[[View], View] = _unchanged  #: Adds computed fields to a row.
    check: Callable[[View], None] = lambda _: None  #: Raises InvalidInput; gets all values after the change.
    add_defaults: Callable[[View], View] = _unchanged  #: Adds defaults that depend on other fields to a new row.


def list_page(
    db: Database,
    resource: ResourceType,
    workspace_id: WorkspaceId,
    filters: Mapping[str, Any],
    limit: int,
    offset: int,
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[list[View], int]:
    """Read a page of a resource, newest first.

    Args:
        db: the database.
        resource: the type of resource.
        workspace_id: the workspace of the caller.
        filters: column -> value that it must have; None: any.
        limit: the size of the page.
        offset: how many rows come before the page.
        after: the last entry of the page before; None: the first page.
        sort: one of `resource.table.listed.sorts`; None: its default.

    Returns:
        The rows, and how many match in all.
    """
    with db.begin() as connection:
        page, total = resources.page(connection, resource.table, workspace_id, filters, limit, offset, after, sort)
        return [resource.complete(dict(row._mapping)) for row in page], total


def list_after(
    db: Database, resource: ResourceType, workspace_id: WorkspaceId, search: str | None, after: str, limit: int
) -> list[View]:
    """Read a page of a resource in the order of its names or numbers. Nothing is counted.

    Args:
        db: the database.
        resource: the type of resource.
        workspace_id: the workspace of the caller.
        search: only rows whose name or number contains this, in any case; None: all.
        after: the name or number of the last row of the page before; empty: the first page.
        limit: the size of the page.

    Returns:
        The rows.
    """
    with db.begin() as connection:
        page = resources.after(connection, resource.table, workspace_id, search, after, limit)
        return [resource.complete(dict(row._mapping)) for row in page]


def show(db: Database, resource: ResourceType, workspace_id: WorkspaceId, row_id: UUID) -> View:
    """Read one row.

    Args:
        db: the database.
        resource: the type of resource.
        workspace_id: the workspace of the caller.
        row_id: the id.

    Returns:
        The row.

    Raises:
        NotFound: this workspace has no such row.
    """
    with db.begin() as connection:
        return _read(connection, resource, workspace_id, row_id)


def create(
    db: Database, resource: ResourceType, workspace_id: WorkspaceId, new: InputModel, now: DateTime, rng: Random
) -> View:
    """Store a new row.

    Args:
        db: the database.
        resource: the type of resource.
        workspace_id: the workspace of the caller.
        new: the fields.
        now: the current time.
        rng: source of random numbers, for the id.

    Returns:
        The row.

    Raises:
        InvalidInput: a field is wrong, refers to nothing, or its value is taken.
    """
    values = new.model_dump(exclude_none=True)
    resource.check(values)
    values = resource.add_defaults(values)
    row_id = uuid7(now, rng)
    with db.begin() as connection:
        _check_references(connection, resource, workspace_id, values)
        resources.insert(connection, resource.table, values | {"id": row_id, "workspace_id": workspace_id})
        return _read(connection, resource, workspace_id, row_id)


def change(db: Database, resource: ResourceType, workspace_id: WorkspaceId, row_id: UUID, changed: InputModel) -> View:
    """Change the given fields of a row.

    Args:
        db: the database.
        resource: the type of resource.
        workspace_id: the workspace of the caller.
        row_id: the id.
        changed: the fields; those that were not set stay as they are.

    Returns:
        The row after the change.

    Raises:
        NotFound: this workspace has no such row.
        InvalidInput: a field is wrong, refers to nothing, or its value is taken.
    """
    changes = changed.model_dump(exclude_unset=True)
    with db.begin() as connection:
        resource.check(_read(connection, resource, workspace_id, row_id) | changes)
        _check_references(connection, resource, workspace_id, changes)
        if changes and not resources.update(connection, resource.table, workspace_id, row_id, changes):
            raise _missing(resource)
        return _read(connection, resource, workspace_id, row_id)


def delete(db: Database, resource: ResourceType, workspace_id: WorkspaceId, row_id: UUID) -> None:
    """Delete a row.

    Args:
        db: the database.
        resource: the type of resource.
        workspace_id: the workspace of the caller.
        row_id: the id.

    Raises:
        NotFound: this workspace has no such row.
        StateConflict: other rows refer to it (`…_in_use`).
    """
    with db.begin() as connection:
        if not resources.delete(connection, resource.table, workspace_id, row_id):
            raise _missing(resource)


def _read(connection: Connection, resource: ResourceType, workspace_id: WorkspaceId, row_id: UUID) -> View:
    row = resources.read(connection, resource.table, workspace_id, row_id)
    if row is None:
        raise _missing(resource)
    return resource.complete(dict(row._mapping))


def _check_references(connection: Connection, resource: ResourceType, workspace_id: WorkspaceId, values: View) -> None:
    for field, table in resource.refers_to.items():
        if values.get(field) is not None and not resources.exists(connection, table, workspace_id, values[field]):
            raise InvalidInput.of(field, f"no such {table.noun} in this workspace")


def _missing(resource: ResourceType) -> NotFound:
    return NotFound(f"No such {resource.table.noun.replace('_', ' ')} in this workspace")
