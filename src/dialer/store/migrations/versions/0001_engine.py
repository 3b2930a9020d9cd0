"""The engine's tables, guards and counts."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
