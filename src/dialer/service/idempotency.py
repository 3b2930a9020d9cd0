"""Idempotency keys: the work of one key is done once, however often the request arrives.

The response is stored in the transaction that does the work, and returned unchanged to each repetition; a crash keeps
both or neither. Errors are not stored: nothing was done, so the same request may be tried again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dialer.errors import KeyInUse, StateConflict
from dialer.store import idempotency
from dialer.store.database import Connection, Database
from dialer.store.idempotency import Scope


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it is stored with its key."""

    status: int  #: HTTP status.
    body: str  #: JSON text.
    is_replay: bool = False  #: The work was done by an earlier request.


def run_once(
    db: Database, scope: Scope, request_hash: bytes, status: int, work: Callable[[Database], str]
) -> StoredResponse:
    """Run `work` in one transaction, unless it was run under this key before.

    Args:
        db: the database.
        scope: the key, and the workspace and route in which it counts.
        request_hash: hash of the request body; the same key with another body is an error.
        status: HTTP status to store with a new response.
        work: does the work with the database it is given, and returns the response body.

    Returns:
        The response of `work`, or the stored response of the first request.

    Raises:
        KeyInUse: a request with this key is still running.
        StateConflict: the key was used with another body (`idempotency_key_reused`).
    """
    return db.insist(lambda connection: _run_once(db.within(connection), connection, scope, request_hash, status, work))


def stored_response(db: Database, scope: Scope, request_hash: bytes) -> StoredResponse | None:
    """Read the response to an earlier request, where the work was not reached this time.

    Args:
        db: the database.
        scope: the key, and where it counts.
        request_hash: hash of the request body.

    Returns:
        The stored response; None: there is none.

    Raises:
        StateConflict: the key was used with another body (`idempotency_key_reused`).
    """
    with db.begin() as connection:
        return _replay(connection, scope, request_hash)


def _replay(connection: Connection, scope: Scope, request_hash: bytes) -> StoredResponse | None:
    stored = idempotency.find(connection, scope)
    if stored is None:
        return None
    if bytes(stored.request_hash) != request_hash:
        raise StateConflict("This idempotency key was used for another body", code="idempotency_key_reused")
    return StoredResponse(stored.status, stored.body, is_replay=True)


def _run_once(
    db: Database,
    connection: Connection,
    scope: Scope,
    request_hash: bytes,
    status: int,
    work: Callable[[Database], str],
) -> StoredResponse:
    if not idempotency.lock_key(connection, scope):
        raise KeyInUse("A request with this idempotency key is still running; ask again for its answer")
    if replay := _replay(connection, scope, request_hash):
        return replay
    body = work(db)
    idempotency.insert(connection, scope, request_hash, status, body)
    return StoredResponse(status, body)
