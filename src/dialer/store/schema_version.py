"""The migrations of the schema. Every process checks them, so alembic, which takes long to load, only upgrades."""

from pathlib import Path

from sqlalchemy import Connection, text

from dialer.errors import Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"


def head() -> str:
    """Return the newest migration of this code. The name of each file begins with its number."""
    return max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def revision(connection: Connection) -> str | None:
    """Return the migration of the database; None: it has none."""
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar_one() is None:
        return None
    applied: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return applied


def is_newer(present: str) -> bool:
    """Return whether the migration of a database is a later one than the newest that this code knows."""
    return present.isdecimal() and present > head()


def works(connection: Connection, present: str | None) -> bool:
    """Return whether this code works on a schema: on its own, and on newer ones that say so.

    `present`: the migration of the database.
    """
    if present is None or not is_newer(present):
        return present == head()
    # A schema that was made from this code's own has the function.
    if connection.execute(text("SELECT to_regproc('dialer_oldest_code')")).scalar_one() is None:
        return False
    oldest: str = connection.execute(text("SELECT dialer_oldest_code()")).scalar_one()
    return oldest <= head()


def check(connection: Connection) -> None:
    """Raise Unavailable, worded for operators, unless this code works on the schema."""
    present = revision(connection)
    if works(connection, present):
        return
    if present and is_newer(present):
        raise Unavailable(
            f"The database is at migration {present}, on which this version of Dialer does not work; "
            "use the version that made it"
        )
    raise Unavailable(
        f"The database is at migration {present or 'none'}, this version of Dialer needs {head()}: "
        "run `dialer db upgrade`"
    )


def upgrade(connection: Connection, to: str) -> None:
    """Bring the schema to this migration, within the transaction. A newer one on which this code works stays."""
    before = revision(connection)
    if before == to or (to == "head" and works(connection, before)):
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, to)
    except CommandError:
        raise Unavailable(
            f"The database is at migration {before}, which this version of Dialer does not know; "
            "use the version that made it"
        ) from None
