"""Quarantine: what fails by its own data is kept apart, with its payload, and can be tried again."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
