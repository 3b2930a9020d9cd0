"""What the HTTP API needs: keys, idempotency, contact folders."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
