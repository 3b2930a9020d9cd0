"""Changes of many contacts, done in pages."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
