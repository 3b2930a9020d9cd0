"""Departures: a call is looked at once more before its request leaves, and the rate is passed again there."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
