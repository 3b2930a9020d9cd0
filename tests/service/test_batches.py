"""What an operator can ask for a batch, through the service and in SQL, on the real database."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import Any
from uuid import UUID

import pendulum
import pytest

from dialer.domain.ids import BatchId, WorkspaceId
from dialer.engine.context import EngineContext
from dialer.errors import InvalidInput, NotFound
from dialer.providers.pool import ProviderPool
from dialer.providers.simulator import InProcessSimulator
from dialer.service import batches
from dialer.service.edit_batch import ChangedBatch
from dialer.service.edit_batch import edit as edit_draft
from dialer.service.new_batch import NewBatch
from dialer.store.database import run
from support.deadline import DEADLINE_SECONDS, wait_until
from support.engine_steps import lock_waiters
from support.operator_requests import change, conflict, schedule
from support.world import MONDAY, World

NOBODY = UUID(int=1)
TOMORROW = MONDAY.add(days=1)


def create(world: World, **fields: Any) -> BatchId:
    body = {"name": "Spring", "agent_id": str(world.installed.agent_id)} | fields
    return batches.create(
        world.db, world.installed.workspace_id, NewBatch.read(body, world.clock.now), world.clock.now, world.rng
    )


def workspace(world: World, name: str = "other") -> WorkspaceId:
    made = world.value("INSERT INTO workspaces (id, name) VALUES (gen_random_uuid(), :name) RETURNING id", name=name)
    return WorkspaceId(made)


def status(world: World, batch_id: BatchId) -> str:
    return world.progress(batch_id).status


def test_a_batch_is_created_as_a_draft_with_what_was_asked_for(world: World) -> None:
    numbers = [str(number) for number in reversed(world.installed.number_ids)]
    batch_id = create(
        world,
        phone_number_ids=numbers,
        phone_rotation_strategy="round_robin",
        timezone="Europe/Berlin",
        start_time="09:00",
        end_time="00:00",
        working_days=[7, 1],
        excluded_dates=["2026-12-25"],
        max_calls_per_day=7,
        retry_failed=True,
        max_retry_attempts=2,
        retry_delays={"busy": 1, "failed": 0.5},
        expires_at="2026-06-01T00:00",
        default_region="de",
        metadata={"crm": ["ü", None]},
    )
    (row,) = world.rows("SELECT * FROM batches WHERE id = :id", id=batch_id)
    assert (row.status, row.name, row.timezone, row.default_region) == ("draft", "Spring", "Europe/Berlin", "DE")
    assert (str(row.start_time), str(row.end_time), row.working_days) == ("09:00:00", "00:00:00", [7, 1])
    assert (row.retry_delays, row.metadata) == ({"busy": 1, "failed": 0.5}, {"crm": ["ü", None]})
    assert row.expires_at == pendulum.datetime(2026, 5, 31, 22)
    assert [str(day) for day in row.excluded_dates] == ["2026-12-25"]
    listed = world.rows("SELECT phone_number_id FROM batch_numbers WHERE batch_id = :id ORDER BY position", id=batch_id)
    assert [str(number) for (number,) in listed] == numbers
    assert world.rows("SELECT from_status, to_status FROM batch_history WHERE batch_id = :id", id=batch_id) == [
        (None, "draft")
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "☎" * 255},
        {"metadata": {"nested": json.loads("[" * 500 + "]" * 500)}},
        {"metadata": {"\\u0000": [10**4000, 1e15, 5e-324, -0.0, "\U0010ffff"]}},
        {"retry_delays": {"busy": 1e-300, "failed": 0}},
        {"max_calls_per_day": 2_147_483_647, "expires_at": "9999-12-31T23:59:59Z", "excluded_dates": ["0001-01-01"]},
    ],
)
def test_whatever_is_let_through_can_be_stored(world: World, fields: dict[str, Any]) -> None:
    batch_id = create(world, **fields)
    stored = world.value("SELECT to_jsonb(b) FROM batches b WHERE id = :id", id=batch_id)
    assert {field: stored[field] for field in fields if field != "expires_at"} == {
        field: value for field, value in fields.items() if field != "expires_at"
    }


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"agent_id": str(NOBODY)}, "agent_id"),
        ({"phone_number_ids": [str(NOBODY)]}, "phone_number_ids"),
        ({"name": ""}, "name"),
    ],
)
def test_a_batch_of_what_does_not_exist_is_refused_by_field(world: World, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        create(world, **fields)
    assert [error.field for error in caught.value.errors] == [field]
    assert world.value("SELECT count(*) FROM batches") == 0


def test_what_belongs_to_another_workspace_does_not_exist(world: World) -> None:
    other = workspace(world)
    with pytest.raises(InvalidInput, match="agent_id: no such agent in this workspace"):
        batches.create(
            world.db,
            other,
            NewBatch.read({"name": "x", "agent_id": world.installed.agent_id}, MONDAY),
            MONDAY,
            Random(1),
        )
    number_id = world.installed.number_ids[0]
    world.sql("UPDATE phone_numbers SET workspace_id = :other WHERE id = :id", other=other, id=number_id)
    with pytest.raises(InvalidInput, match=f"phone_number_ids: no such number in this workspace: {number_id}"):
        create(world, phone_number_ids=[str(number) for number in world.installed.number_ids])
    assert create(world)


INACTIVE_NUMBERS = "UPDATE phone_numbers SET status = 'inactive'"
INACTIVE_TRUNK = "UPDATE trunks SET status = 'inactive'"
INACTIVE_AGENT = "UPDATE agents SET status = 'inactive'"
NO_CONNECTION = """UPDATE agents SET connection = '{"twilio": {"url": "https://example.org"}}'"""
NOT_READY = pytest.mark.parametrize(
    ("statement", "code", "text"),
    [
        (INACTIVE_NUMBERS, "no_outbound_number", "number"),
        (INACTIVE_TRUNK, "no_outbound_number", "number"),
        (INACTIVE_AGENT, "agent_not_ready", "is inactive"),
        (NO_CONNECTION, "agent_not_ready", "connection.simulator is missing"),
    ],
)


@NOT_READY
def test_a_batch_that_could_not_call_is_not_created(world: World, statement: str, code: str, text: str) -> None:
    world.sql(statement)
    refused_with, message = conflict(lambda: create(world))
    assert refused_with == code
    assert text in message


@NOT_READY
def test_a_batch_that_cannot_call_any_more_is_not_started(world: World, statement: str, code: str, text: str) -> None:
    batch_id = world.batch(1, start=False)
    world.sql(statement)
    refused_with, message = conflict(lambda: schedule(world, batch_id))
    assert refused_with == code
    assert text in message
    assert status(world, batch_id) == "draft"


def test_every_listed_number_must_be_active_but_of_the_agent_s_own_the_active_ones_are_used(world: World) -> None:
    off, *on = (str(number) for number in world.installed.number_ids)
    world.sql("UPDATE phone_numbers SET status = 'inactive' WHERE id = :id", id=off)
    assert conflict(lambda: create(world, phone_number_ids=[*on, off]))[0] == "no_outbound_number"
    assert create(world, phone_number_ids=on)
    assert create(world)


def test_a_batch_without_contacts_is_not_started(world: World) -> None:
    batch_id = create(world)
    assert conflict(lambda: schedule(world, batch_id))[0] == "batch_has_no_contacts"
    assert status(world, batch_id) == "draft"


@pytest.mark.parametrize("fields", [{}, {"schedule_type": "scheduled", "scheduled_at": str(TOMORROW)}])
def test_a_batch_whose_window_never_opens_is_not_started(world: World, fields: dict[str, str]) -> None:
    days = [MONDAY.add(days=n).to_date_string() for n in range(402)]
    batch_id = world.batch(1, start=False, excluded_dates=days, **fields)
    assert conflict(lambda: schedule(world, batch_id)) == ("window_never_opens", "The calling window never opens")
    assert status(world, batch_id) == "draft"


def test_a_batch_whose_window_opens_now_and_never_after_its_start_is_not_started(world: World) -> None:
    days = [TOMORROW.add(days=n).to_date_string() for n in range(402)]
    batch_id = world.batch(1, start=False, excluded_dates=days, schedule_type="scheduled", scheduled_at=str(TOMORROW))
    assert conflict(lambda: schedule(world, batch_id))[0] == "window_never_opens"


class Closed(InProcessSimulator):
    """A network that answers, but takes no calls."""

    async def health(self) -> str | None:
        return "the network is closed"


def test_a_batch_whose_trunk_does_not_answer_is_not_started(world: World) -> None:
    pool = ProviderPool(lambda _: Closed(world.network, world.clock), world.clock)
    context, batch_id = EngineContext(world.db, world.leases, pool, world.clock), world.batch(1, start=False)
    refusal = conflict(lambda: batches.schedule(context, world.installed.workspace_id, batch_id, MONDAY))
    pool.close()
    assert refusal == ("provider_error", "The trunk cannot place calls: the network is closed")
    assert status(world, batch_id) == "draft"


class Meddling(InProcessSimulator):
    """A network during whose check someone else changes the draft."""

    meddle: Callable[[], object] = staticmethod(lambda: None)

    async def health(self) -> str | None:
        await asyncio.to_thread(self.meddle)
        return None


def started_while(world: World, batch_id: BatchId, **changes: Any) -> str:
    """Schedule a draft that is changed, once, between the checks and the start."""
    changed = iter([ChangedBatch.read(changes, MONDAY)])

    def meddle() -> None:
        for changed_batch in changed:
            edit_draft(world.db, world.installed.workspace_id, batch_id, changed_batch, MONDAY)

    provider = Meddling(world.network, world.clock)
    provider.meddle = meddle
    pool = ProviderPool(lambda _: provider, world.clock)
    try:
        context = EngineContext(world.db, world.leases, pool, world.clock)
        return batches.schedule(context, world.installed.workspace_id, batch_id, MONDAY)
    finally:
        pool.close()


def test_a_time_that_is_set_while_a_batch_is_started_is_obeyed(world: World) -> None:
    assert started_while(world, world.batch(1, start=False), scheduled_at=str(TOMORROW)) == "scheduled"


def test_a_time_that_is_taken_away_while_a_batch_is_started_does_not_count(world: World) -> None:
    batch_id = world.batch(1, start=False, schedule_type="scheduled", scheduled_at=str(TOMORROW))
    assert started_while(world, batch_id, scheduled_at=None) == "active"


def test_what_is_changed_while_a_batch_is_started_is_checked_too(world: World) -> None:
    batch_id = world.batch(1, start=False)
    days = [MONDAY.add(days=n).to_date_string() for n in range(402)]
    assert conflict(lambda: started_while(world, batch_id, excluded_dates=days))[0] == "window_never_opens"
    assert status(world, batch_id) == "draft"


def test_a_batch_starts_now_or_when_its_time_comes(world: World) -> None:
    assert schedule(world, world.batch(1, start=False)) == "active"
    batch_id = world.batch(1, schedule_type="scheduled", scheduled_at="2026-03-03T03:00", timezone="America/New_York")
    assert status(world, batch_id) == "scheduled"
    world.clock.now = TOMORROW.subtract(seconds=1)
    world.step()
    assert status(world, batch_id) == "scheduled"
    world.clock.now = TOMORROW
    world.step()
    assert status(world, batch_id) == "active"


def test_a_batch_that_was_paused_before_its_time_waits_for_it_again(world: World) -> None:
    batch_id = world.batch(1, schedule_type="scheduled", scheduled_at=str(TOMORROW))
    assert change(world, "pause", batch_id) == "paused"
    assert change(world, "resume", batch_id) == "scheduled"
    change(world, "pause", batch_id)
    world.clock.now = TOMORROW
    assert change(world, "resume", batch_id) == "active"


def test_the_progress_of_a_batch_that_does_not_exist_is_not_found(world: World) -> None:
    with pytest.raises(NotFound, match=f"No batch {NOBODY}"):
        batches.read_progress(world.db, BatchId(NOBODY))


def test_a_draft_is_not_deleted_between_the_reads_of_its_check(world: World) -> None:
    batch_id = world.batch(1, start=False)
    with ThreadPoolExecutor(2) as pool, world.db.begin() as operator:
        run(operator, "LOCK TABLE phone_numbers IN ACCESS EXCLUSIVE MODE")
        scheduling = pool.submit(schedule, world, batch_id)
        wait_until(lambda: lock_waiters(world) == 1)
        deleting = pool.submit(world.sql, "DELETE FROM batches WHERE id = :id", id=batch_id)
        wait_until(lambda: lock_waiters(world) == 2 or deleting.done())
        operator.commit()
        assert deleting.result(DEADLINE_SECONDS) == 1
        with suppress(NotFound):  # where it was deleted after the check
            assert scheduling.result(DEADLINE_SECONDS) == "active"
