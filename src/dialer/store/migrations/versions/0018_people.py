"""People: one call at a time, limits on calls to a person, and contacts with times of their own."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
