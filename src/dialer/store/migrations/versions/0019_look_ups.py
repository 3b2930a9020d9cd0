"""When the network of an attempt was last asked about it."""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    # NULL: never, or by a worker of the previous release. Without a default no row is written; each table is locked for
    # a moment.
    op.execute("ALTER TABLE attempts ADD looked_up_at timestamptz")
    op.execute("ALTER TABLE attempts_archive ADD looked_up_at timestamptz")
