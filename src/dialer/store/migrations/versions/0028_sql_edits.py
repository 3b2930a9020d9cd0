"""What operators may change in SQL while calls are in progress."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
