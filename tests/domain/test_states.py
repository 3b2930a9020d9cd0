"""The three state machines: closed, every open state has a way out, and the schema knows the same words."""

import re
from collections.abc import Mapping
from enum import StrEnum
from itertools import product

import pytest
from sqlalchemy.exc import IntegrityError

from dialer.domain.call import EventKind
from dialer.domain.outcomes import Outcome
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.domain.states import (
    ATTEMPT_TRANSITIONS,
    BATCH_TRANSITIONS,
    CONTACT_TRANSITIONS,
    FINAL_BATCH,
    FINAL_CONTACT,
    LIVE_ATTEMPT,
    AttemptState,
    BatchStatus,
    ContactStatus,
)
from dialer.store.database import Database, rows
from support.engine_steps import dispatch_and_place
from support.world import World

Transitions = Mapping[StrEnum, frozenset[StrEnum]]
MACHINES = pytest.mark.parametrize(
    ("states", "transitions"),
    [
        (BatchStatus, BATCH_TRANSITIONS),
        (ContactStatus, CONTACT_TRANSITIONS),
        (AttemptState, ATTEMPT_TRANSITIONS),
    ],
)
WORDS = pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("batches", "status", BatchStatus),
        ("contacts", "status", ContactStatus),
        ("attempts", "state", AttemptState),
        ("attempts", "outcome", Outcome),
        ("inbox", "kind", EventKind),
        ("batches", "phone_rotation_strategy", RotationStrategy),
    ],
)


@MACHINES
def test_every_state_says_what_may_follow_it(states: type[StrEnum], transitions: Transitions) -> None:
    assert set(transitions) == set(states)
    assert set().union(*transitions.values()) <= set(states)
    assert all(state not in nexts for state, nexts in transitions.items())


@MACHINES
def test_every_state_that_is_not_final_reaches_a_final_one(states: type[StrEnum], transitions: Transitions) -> None:
    ends = {state for state, nexts in transitions.items() if not nexts}
    reached = set(ends)
    for _ in states:
        reached |= {state for state, nexts in transitions.items() if nexts & reached}
    assert ends
    assert reached == set(states)


@MACHINES
def test_every_state_can_be_reached_from_the_first(states: type[StrEnum], transitions: Transitions) -> None:
    reached = {next(iter(states))}
    for _ in states:
        reached = reached.union(*(transitions[state] for state in reached))
    assert reached == set(states)


def test_final_and_live_states_are_those_of_the_design() -> None:
    assert set(FINAL_BATCH) == {"completed", "cancelled", "failed"}
    assert set(FINAL_CONTACT) == {"completed", "failed", "skipped", "cancelled"}
    assert set(LIVE_ATTEMPT) == {"reserved", "unclear", "placed", "ringing", "answered"}


def test_any_batch_that_is_not_over_can_be_cancelled() -> None:
    assert all(BatchStatus.CANCELLED in BATCH_TRANSITIONS[status] for status in set(BatchStatus) - FINAL_BATCH)


@pytest.mark.parametrize("state", sorted(LIVE_ATTEMPT))
def test_any_live_attempt_can_end_by_a_report(state: AttemptState) -> None:
    assert AttemptState.ENDED in ATTEMPT_TRANSITIONS[state]


@pytest.mark.parametrize("state", [AttemptState.PLACED, AttemptState.RINGING, AttemptState.ANSWERED])
def test_a_call_that_was_seen_cannot_be_refused_any_more(state: AttemptState) -> None:
    assert AttemptState.REFUSED not in ATTEMPT_TRANSITIONS[state]


@WORDS
def test_the_database_knows_the_words_of_the_domain(
    db: Database, table: str, column: str, words: type[StrEnum]
) -> None:
    with db.begin() as connection:
        constraints = rows(
            connection,
            """
            SELECT pg_get_constraintdef(c.oid) AS rule
            FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
            WHERE c.conrelid = CAST(:table AS regclass) AND c.contype = 'c' AND a.attname = :column
            """,
            table=table,
            column=column,
        )
    ((rule,),) = constraints
    assert set(re.findall(r"'(\w+)'::text", rule)) == set(words)


def test_the_database_lets_a_contact_have_one_live_attempt_at_most(world: World) -> None:
    world.batch(1)
    dispatch_and_place(world, world.value("SELECT id FROM batches"))
    copy = """
        INSERT INTO attempts (id, batch_id, contact_id, trunk_id, phone_number_id, to_number, from_number, state,
                              outcome, local_on, utc_on, granted_at, ended_at, rescue_at, allowed_by)
        SELECT gen_random_uuid(), batch_id, contact_id, trunk_id, phone_number_id, to_number, from_number, :state,
               CASE WHEN :state = 'ended' THEN 'busy' END, local_on, utc_on, granted_at,
               CASE WHEN :state IN ('ended', 'refused') THEN created_at END,
               CASE WHEN :state NOT IN ('ended', 'refused') THEN created_at END, allowed_by
        FROM attempts LIMIT 1
        """
    for state, other in product(LIVE_ATTEMPT, LIVE_ATTEMPT):
        world.sql("UPDATE attempts SET state = :state", state=state)
        with pytest.raises(IntegrityError, match="attempts_one_live_per_contact"):
            world.sql(copy, state=other)
    for over in set(AttemptState) - LIVE_ATTEMPT:
        assert [world.sql(copy, state=over) for _ in range(2)] == [1, 1]
