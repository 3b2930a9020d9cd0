"""The epoch of the leases: leases that were granted under an older one are void, as Redis has lost its memory since."""

from uuid import UUID

from sqlalchemy import Connection

from dialer.store.database import rows, run

# Key of an advisory lock: claims hold it shared, a rebuild of Redis holds it exclusively.
EPOCH_LOCK = 7_306_002


def share(connection: Connection) -> None:
    """Block a rebuild of Redis until this transaction ends. A statement of its own, so that the next ones see what a
    rebuild committed while this one waited (P2).
    """
    rows(connection, "SELECT pg_advisory_xact_lock_shared(:key)", key=EPOCH_LOCK)


def stop_claims(connection: Connection) -> None:
    """Block all claims until this transaction ends. A statement of its own, for the same reason as in `share`."""
    rows(connection, "SELECT pg_advisory_xact_lock(:key)", key=EPOCH_LOCK)
    # A session that was left open after changing a limit holds the row; claims must not be blocked until it ends.
    rows(connection, "SELECT set_config('lock_timeout', '400ms', true)")


def begin(connection: Connection, epoch: UUID) -> None:
    """Make every lease void that was granted before; claims are blocked by this transaction."""
    run(connection, "UPDATE lease_epoch SET epoch = :epoch", epoch=epoch)


def current(connection: Connection) -> UUID | None:
    """Return the epoch under which leases are valid; None: Redis was never loaded."""
    (row,) = rows(connection, "SELECT epoch FROM lease_epoch")
    epoch: UUID | None = row.epoch
    return epoch
