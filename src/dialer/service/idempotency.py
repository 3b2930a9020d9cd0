"""Idempotency keys: what is asked for with one key is done once, however often the request comes.

The answer is stored in the transaction that does what was asked, and given again as it stands; a crash keeps both or
neither. Refusals are not kept: nothing was done, so the same request may be tried again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dialer.errors import KeyInUse, StateConflict
from dialer.store import idempotency
from dialer.store.database import Connection, Database
from dialer.store.idempotency import Scope


@dataclass(frozen=True, slots=True)
class Done:
    """An answer, as text; `is_replay`: it was given before."""

    status: int
    body: str
    is_replay: bool = False


def do_once(db: Database, scope: Scope, request_hash: bytes, status: int, work: Callable[[Database], str]) -> Done:
    """Do `work` in one transaction, unless it was done under this key: then answer as it did.

    Raises:
        KeyInUse: a request with this key is still running.
        StateConflict: the key was used for another body (`idempotency_key_reused`).
    """
    return db.insist(lambda connection: _do_once(db.within(connection), connection, scope, request_hash, status, work))


def _do_once(
    db: Database,
    connection: Connection,
    scope: Scope,
    request_hash: bytes,
    status: int,
    work: Callable[[Database], str],
) -> Done:
    if not idempotency.take(connection, scope):
        raise KeyInUse("A request with this idempotency key is still running; ask again for its answer")
    kept = idempotency.find(connection, scope)
    if kept is None:
        body = work(db)
        idempotency.keep(connection, scope, request_hash, status, body)
        return Done(status, body)
    if bytes(kept.request_hash) != request_hash:
        raise StateConflict("This idempotency key was used for another body", code="idempotency_key_reused")
    return Done(kept.status, kept.body, is_replay=True)
