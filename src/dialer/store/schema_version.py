"""The migrations of the schema. Imported only where it is used: alembic takes long to load."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError as CommandError
from sqlalchemy import Connection

MIGRATIONS = Path(__file__).parent / "migrations"


def head() -> str:
    """Return the newest migration of this code."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def revision(connection: Connection) -> str | None:
    """Return the migration of the database; None: it has none."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: Connection, to: str) -> None:
    """Bring the schema to this migration, within the transaction."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
