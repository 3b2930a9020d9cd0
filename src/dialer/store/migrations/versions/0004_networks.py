"""What real networks need: who hears which trunk, and which calls a network does not have any more."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
