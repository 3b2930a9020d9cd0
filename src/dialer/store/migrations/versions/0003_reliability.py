"""What reliability needs: counts that outlive their batch, what is set aside, circuit breakers."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
