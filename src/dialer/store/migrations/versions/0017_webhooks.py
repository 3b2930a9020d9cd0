"""Webhook endpoints, and the outbox of the events that are sent to them."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
