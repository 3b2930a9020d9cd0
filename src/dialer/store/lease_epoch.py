"""The epoch of the leases: those that were granted under another one are void, for Redis has lost its memory since."""

from uuid import UUID

from sqlalchemy import Connection

from dialer.store.database import rows, run

# What nothing else locks: claims share it, a rebuild of Redis has it to itself.
EPOCH_LOCK = 7_306_002


def share(connection: Connection) -> None:
    """Hold off a rebuild of Redis until this transaction ends. A statement of its own, so that the next ones see what
    a rebuild committed while this one waited.
    """
    rows(connection, "SELECT pg_advisory_xact_lock_shared(:key)", key=EPOCH_LOCK)


def stop_claims(connection: Connection) -> None:
    """Hold off every claim until this transaction ends. A statement of its own, for the reason given above."""
    rows(connection, "SELECT pg_advisory_xact_lock(:key)", key=EPOCH_LOCK)
    # A session that was left open after changing a limit holds the row: claims must not be held off until it ends.
    rows(connection, "SELECT set_config('lock_timeout', '400ms', true)")


def begin(connection: Connection, epoch: UUID) -> None:
    """Void every lease that was granted before; claims are held off by this transaction."""
    run(connection, "UPDATE lease_epoch SET epoch = :epoch", epoch=epoch)


def current(connection: Connection) -> UUID | None:
    """Say under which epoch leases are good."""
    (row,) = rows(connection, "SELECT epoch FROM lease_epoch")
    epoch: UUID | None = row.epoch
    return epoch
