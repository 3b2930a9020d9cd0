"""Finds a batch of any workspace by its id or name, for the installation's owner."""

from uuid import UUID

from dialer.domain.ids import BatchId
from dialer.errors import InvalidInput
from dialer.store import batch_views
from dialer.store.database import Database

MAX_LISTED = 10


def find(db: Database, id_or_name: str) -> BatchId:
    """Find the batch with this id, or with this name if only one has it.

    Args:
        db: the database.
        id_or_name: the id, which need not exist, or the name.

    Returns:
        The id.

    Raises:
        InvalidInput: none has this name, or several have; then they are listed.
    """
    try:
        return BatchId(UUID(id_or_name))
    except ValueError:
        with db.begin() as connection:
            named = batch_views.with_name(connection, id_or_name, MAX_LISTED)
    if len(named) == 1:
        return BatchId(named[0].id)
    if not named:
        raise InvalidInput.of("batch", f"none is called {id_or_name}")
    listed = ", ".join(f"{batch.id} ({batch.status})" for batch in named)
    raise InvalidInput.of("batch", f"several are called {id_or_name}; use an id: {listed}")
