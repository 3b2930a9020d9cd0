"""Where a page of a list begins: after the last entry of the page before, whose id the client sends."""

from uuid import UUID

from sqlalchemy import Connection

from dialer.errors import InvalidInput
from dialer.store.database import rows

LAST_ID = UUID(int=2**128 - 1)
LAST_POSITION = 2**63 - 1


def position_of(
    connection: Connection, table: str, owner: str, owner_id: UUID, entry_id: UUID | None, *, first: int = 0
) -> int:
    """Read the position of an entry of a list; without one return `first`. Raises InvalidInput for another list's."""
    if entry_id is None:
        return first
    query = f"SELECT position FROM {table} WHERE id = :id AND {owner} = :owner"
    entries = rows(connection, query, id=entry_id, owner=owner_id)
    if not entries:
        raise no_entry()
    return int(entries[0].position)


def no_entry() -> InvalidInput:
    """Make the error for an `after` that names no entry of the list."""
    return InvalidInput.of("after", "is no entry of this list")
