"""Labels of a batch, to find it by."""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    # A constant default: no row is written; the table is locked for a moment. Workers of the previous release do not
    # read the column.
    op.execute("ALTER TABLE batches ADD labels text[] NOT NULL DEFAULT '{}'")
