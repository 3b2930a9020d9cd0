"""People: export and erase what a workspace holds on one telephone number.

Both are recorded with the key and the time; the number is masked there, as in logs. Requests have the number in their
body, because URLs are kept in the logs of proxies.
"""

from typing import Any

from pendulum import DateTime
from pydantic import ConfigDict

from dialer.domain.ids import WorkspaceId
from dialer.domain.phone import masked
from dialer.errors import StateConflict
from dialer.service.fields import InputModel, PhoneNumber
from dialer.store import people, progress
from dialer.store.database import Connection, Database, wait_shortly

IN_CALL = "This number is being called; wait until the call is over, or cancel its batch with hang_up"


class Person(InputModel):
    """The number of a person, in E.164."""

    model_config = ConfigDict(json_schema_extra={"example": {"phone_number": "+12025550112"}})

    phone_number: PhoneNumber


def export(db: Database, workspace_id: WorkspaceId, person: Person) -> dict[str, Any]:
    """Read everything that a workspace holds on a number.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        person: the number.

    Returns:
        `contacts` with their calls in `calls`, `folder_contacts`, `webhook_messages`, each a list; `suppression`, or
        None.
    """
    with db.begin() as connection:
        held = people.held(connection, workspace_id, person.phone_number)
        counts = {kind: len(entries) for kind, entries in held.items() if isinstance(entries, list)}
        people.record(connection, workspace_id, "export", masked(person.phone_number), counts)
    return {"phone_number": person.phone_number} | held


def erase(db: Database, workspace_id: WorkspaceId, person: Person, now: DateTime) -> dict[str, int]:
    """Erase a person: once this returns, the number is nowhere in the workspace but in its suppressions.

    Contacts that are pending or waiting become cancelled as `erased`, so they are not called (P4). Counts, outcomes and
    times stay, without the person. A suppression stays, because somebody who asked not to be called must not be called
    when the next list has the number. Called twice: finds nothing more.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        person: the number.
        now: the current time.

    Returns:
        How many rows were changed or removed, by kind.

    Raises:
        StateConflict: the number is being called (`person_in_call`); nothing was erased.
    """
    return db.insist(lambda connection: _erase(connection, workspace_id, person.phone_number, now))


def _erase(connection: Connection, workspace_id: WorkspaceId, number: str, now: DateTime) -> dict[str, int]:
    wait_shortly(connection)
    contacts = people.find_contacts(connection, workspace_id, number)
    contact_ids, batch_ids = list(contacts), list(contacts.values())
    # A claim that runs now has locked the contact, and is seen once that is locked here.
    if people.lock_calls(connection, contact_ids):
        raise StateConflict(IN_CALL, code="person_in_call")
    progress.lock_progress(connection, batch_ids)
    if people.lock_contacts(connection, contact_ids):
        raise StateConflict(IN_CALL, code="person_in_call")
    counts = {
        "contacts": people.erase_contacts(connection, contact_ids),
        "calls": people.erase_calls(connection, contact_ids),
        **people.erase_elsewhere(connection, workspace_id, number),
    }
    # It may have been the last contact of a batch, which is completed then.
    progress.wake(connection, batch_ids, now)
    people.record(connection, workspace_id, "erase", masked(number), counts)
    return counts
