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


def upgrade(connection: Connection, to: str) -> None:
    """Bring the schema to this migration, within the transaction."""
    before = revision(connection)
    if before == (head() if to == "head" else to):
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
