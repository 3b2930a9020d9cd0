"""Every version of the settings of a batch, and who changed it."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
