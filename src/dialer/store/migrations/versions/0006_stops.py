"""A stop always stops: what is already stopped or over is left as it is."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
