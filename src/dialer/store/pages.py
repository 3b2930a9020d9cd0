"""Pages of lists: the orders in which a list can be read, where a page begins, and how many entries are counted.

An order is offered where an index has it, so that a page at any depth costs the same. A page begins after the last
entry of the page before, whose id the client sends.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from dialer.errors import InvalidInput
from dialer.store.database import rows

LAST_ID = UUID(int=2**128 - 1)
# What is not counted elsewhere is counted up to here for a page.
MAX_COUNTED = 100_000
DESCENDING = "-"


@dataclass(frozen=True, slots=True)
class PageStart:
    """SQL for the page: the condition to add, the order, and the values of the condition."""

    condition: str
    order: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """A table whose rows are listed by owner."""

    table: str  #: With its alias, as in `batches b`.
    id: str  #: The column of the id, with the alias, as all columns here.
    owner: str  #: The column of what the list belongs to.
    orders: Mapping[str, tuple[str, ...]]  #: Field -> the columns of its index; the last one is unique in the list.
    default: str  #: How the list is sorted if nothing is said.

    @property
    def sorts(self) -> tuple[str, ...]:
        """Return the values of `sort`: each field, and with a minus the other way round."""
        return tuple(f"{sign}{field}" for field in self.orders for sign in ("", DESCENDING))

    def start(self, connection: Connection, owner_id: UUID, after: UUID | None, sort: str | None) -> PageStart:
        """Say where a page begins. Raises InvalidInput if `after` is no entry of this list."""
        by = sort or self.default
        columns = self.orders[by.removeprefix(DESCENDING)]
        is_descending = by.startswith(DESCENDING)
        order = ", ".join(f"{column} DESC" if is_descending else column for column in columns)
        if after is None:
            return PageStart("", order, {})
        values = {f"after_{n}": value for n, value in enumerate(self._key(connection, columns, owner_id, after))}
        names = ", ".join(f":{name}" for name in values)
        return PageStart(f" AND ({', '.join(columns)}) {'<' if is_descending else '>'} ({names})", order, values)

    def _key(self, connection: Connection, columns: tuple[str, ...], owner_id: UUID, entry_id: UUID) -> tuple[Any, ...]:
        """Read the key of an entry. An id that is the whole key is not looked up: the entry may be deleted by now."""
        if columns == (self.id,):
            return (entry_id,)
        query = f"SELECT {', '.join(columns)} FROM {self.table} WHERE {self.id} = :id AND {self.owner} = :owner"
        entries = rows(connection, query, id=entry_id, owner=owner_id)
        if not entries:
            raise InvalidInput.of("after", "is no entry of this list")
        return tuple(entries[0])


def count(connection: Connection, matching: str, **values: Any) -> int:
    """Count the rows of `FROM … WHERE …`, at most MAX_COUNTED: a page costs no more the more is stored."""
    query = f"SELECT count(*) AS n FROM (SELECT 1 {matching} LIMIT {MAX_COUNTED}) AS counted"
    (row,) = rows(connection, query, **values)
    return int(row.n)
