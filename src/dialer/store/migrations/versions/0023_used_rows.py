"""Numbers, trunks and contacts with calls are kept by triggers on their own tables, and not by foreign keys."""

from pathlib import Path

from alembic import op

from dialer.store.database import run_script

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))
