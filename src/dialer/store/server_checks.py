"""Checks whether Postgres and Redis can be used, and migrates the schema. Every process begins with it.

An error is one line for operators, which names the setting.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from dialer.errors import Unavailable
from dialer.store.database import Database

if TYPE_CHECKING:
    from dialer.store.leases import Leases


def check_database(db: Database) -> None:
    """Raise Unavailable unless Postgres answers and has the schema that this code needs."""
    with _usable("DIALER_DATABASE_URL", DBAPIError):
        db.check()


def check_leases(leases: "Leases") -> None:
    """Raise Unavailable unless Redis answers."""
    from redis import RedisError

    # The client raises TypeError at the first connection for an unknown parameter of the URL.
    with _usable("DIALER_REDIS_URL", RedisError, TypeError):
        leases.ping()


def upgrade(db: Database) -> None:
    """Migrate the schema to what this code needs; raises Unavailable if that is impossible."""
    with _usable("DIALER_DATABASE_URL", DBAPIError):
        db.upgrade()


@contextmanager
def _usable(setting: str, *errors: type[Exception]) -> Iterator[None]:
    """Raise Unavailable with one line that names the setting, for errors of the first connection."""
    try:
        yield
    except errors as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise Unavailable(f"{setting} cannot be used: {str(cause).strip().splitlines()[0]}") from error
