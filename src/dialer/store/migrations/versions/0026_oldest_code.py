"""The oldest code that works on this schema, so that processes of an earlier release know whether they may go on."""

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    # A migration on which older code does not work replaces the function with its own number, or with that of the
    # oldest code that does. It locks nothing.
    op.execute(f"CREATE FUNCTION dialer_oldest_code() RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT '{revision}'$$")
