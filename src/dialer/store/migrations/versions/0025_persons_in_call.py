"""An index of the contacts that wait because their person is in a call, by the person."""

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    # Settle looks here whether anybody waits for the end of a call. Locks `contacts` against writes while it is read
    # once, about a second for a million rows. Workers of the previous release go on.
    op.execute(
        "CREATE INDEX contacts_of_person_in_call ON contacts (phone_number)"
        " WHERE status = 'waiting' AND waits_for = 'person_in_call'"
    )
