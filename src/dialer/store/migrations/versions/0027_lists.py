"""Indexes of sorted lists, the count of a folder's contacts, and the default time zone of a workspace."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
