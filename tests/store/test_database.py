"""The schema: made by migrations from nothing, and true to the state machines of the domain."""

import itertools

import pytest

from dialer.domain.states import BATCH_TRANSITIONS, BatchStatus
from dialer.errors import Unavailable
from dialer.store.database import Database, head, rows


def test_a_migrated_database_is_fit_for_use(db: Database) -> None:
    db.check()
    assert db.revision() == head()


def test_upgrading_twice_changes_nothing(db: Database) -> None:
    db.upgrade()
    db.check()


def test_a_database_that_does_not_answer_is_named_in_one_line() -> None:
    with pytest.raises(Unavailable, match="Postgres does not answer"):
        Database("postgresql+psycopg://nobody@127.0.0.1:1/nothing").check()


@pytest.mark.parametrize(("old", "new"), list(itertools.product(BatchStatus, BatchStatus)))
def test_the_database_allows_exactly_the_transitions_of_the_domain(
    db: Database, old: BatchStatus, new: BatchStatus
) -> None:
    with db.begin() as connection:
        (row,) = rows(connection, "SELECT batch_may_become(:old, :new) AS allowed", old=old, new=new)
    assert row.allowed == (new in BATCH_TRANSITIONS[old])
