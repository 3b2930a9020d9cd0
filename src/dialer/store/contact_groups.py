"""The contacts in groups that `store.explain` has counted, as a filter of the contacts of a batch."""

from dataclasses import dataclass
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection

from dialer.domain.ids import BatchId
from dialer.domain.states import ContactStatus
from dialer.store.database import rows
from dialer.store.explain import KEY, SEEN

# A place in the calling order: priority, due time and position of a contact.
Place = tuple[int, str, int]
_PLACE = "s.priority, s.due_at, s.position"
FIRST_PLACE: Place = (-1, "-infinity", -1)
LAST_PLACE: Place = (32_767, "infinity", 2**63 - 1)


@dataclass(frozen=True, slots=True)
class InGroups:
    """The contacts that are in these groups of a batch at a moment, and how many they are.

    As `explain.groups` made them, which got `moments`. `in_turn`: keys of groups of which only the contacts from the
    place `first` in the calling order up to `end`, which is excluded, are meant.
    """

    keys: tuple[str, ...]
    in_turn: tuple[str, ...]
    statuses: tuple[ContactStatus, ...]
    count: int
    now: DateTime
    moments: tuple[DateTime, ...]
    first: Place = FIRST_PLACE
    end: Place = LAST_PLACE

    def values(self, batch_id: BatchId) -> dict[str, Any]:
        """Return the values for `IN_GROUPS`."""
        found = {"keys": list(self.keys), "in_turn": list(self.in_turn), "statuses": list(self.statuses)}
        places = {f"{of}_{n}": part for of in ("first", "end") for n, part in enumerate(getattr(self, of))}
        return {"id": batch_id, "now": self.now, "moments": list(self.moments)} | found | places


_IS_MEANT = f"""
({KEY} = ANY(:keys) OR {KEY} = ANY(:in_turn)
 AND ({_PLACE}) >= (:first_0, CAST(:first_1 AS timestamptz), :first_2)
 AND ({_PLACE}) < (:end_0, CAST(:end_1 AS timestamptz), :end_2))
"""
# SQL: the ids of these contacts. Costs as much as reading all contacts in these statuses.
IN_GROUPS = f"SELECT s.id FROM ({SEEN}) AS s WHERE {_IS_MEANT}"


def is_in_groups(contact_id: str) -> str:
    """Return SQL for whether a contact is in these groups, for a page of an export. `contact_id`: SQL without `c`."""
    return f"EXISTS (SELECT 1 FROM ({SEEN} AND c.id = {contact_id}) AS s WHERE {_IS_MEANT})"


def place_of(connection: Connection, batch_id: BatchId, which: InGroups, nth: int) -> Place:
    """Return the place of the nth contact (from 0) of the groups that are called in turn; LAST_PLACE: there is none."""
    places = rows(
        connection,
        f"""
        SELECT {_PLACE} FROM ({SEEN}) AS s WHERE {KEY} = ANY(:in_turn) ORDER BY {_PLACE} OFFSET :nth LIMIT 1
        """,
        nth=nth,
        **which.values(batch_id),
    )
    return (places[0].priority, places[0].due_at.isoformat(), places[0].position) if places else LAST_PLACE
