"""Forecasts, kept beside the true ends of their batches."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
