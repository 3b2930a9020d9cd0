"""Runs migrations on the connection that Database.upgrade hands over, one process at a time."""

from alembic import context
from sqlalchemy import text

UPGRADING = 7_306_001  # any number that nothing else locks

connection = context.config.attributes["connection"]
connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADING})
context.configure(connection=connection)
context.run_migrations()
