"""What agents report of their calls, and calls that were answered without an agent."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
