"""What the network itself said of a call."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
