"""Contacts of a batch that are added to another one."""

from collections.abc import Collection, Iterator

from sqlalchemy import Connection

from dialer.domain.contact import NewContact
from dialer.domain.ids import BatchId
from dialer.domain.outcomes import Outcome
from dialer.store.database import optional_moment, stream


def ended_with(connection: Connection, batch_id: BatchId, outcomes: Collection[Outcome]) -> Iterator[NewContact]:
    """Yield the contacts that are over with one of these outcomes and have not expired, from a server-side cursor."""
    in_order = """
    SELECT phone_number, name, timezone, priority, external_id, expires_at, variables FROM contacts
    WHERE batch_id = :batch AND status IN ('completed', 'failed') AND outcome = ANY(:outcomes)
      AND (expires_at IS NULL OR expires_at > dialer_now()) AND phone_number NOT LIKE 'erased:%'
    ORDER BY position
    """
    for row in stream(connection, in_order, batch=batch_id, outcomes=list(outcomes)):
        yield NewContact(
            phone_number=row.phone_number,
            name=row.name,
            timezone=row.timezone,
            # 0: a callback was asked for, in the batch that is over.
            priority=max(1, row.priority),
            external_id=row.external_id,
            expires_at=optional_moment(row.expires_at),
            variables=row.variables,
        )
