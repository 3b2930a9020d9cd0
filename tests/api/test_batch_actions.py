"""Schedule, pause, resume, cancel, delete: what the status does not allow is said, and of two at once one wins."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from threading import Barrier
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api
from dialer import wiring
from dialer.engine.settle import settle
from dialer.engine.tick import tick
from dialer.store.database import Timeouts, run
from support.deadline import DEADLINE_SECONDS, wait_until
from support.world import World

Draft = Callable[..., dict[str, Any]]
STATUSES = ("draft", "scheduled", "active", "paused", "completed", "cancelled", "failed")
ALLOWED = {
    "schedule": {"draft"},
    "pause": {"active", "scheduled"},
    "resume": {"paused"},
    "cancel": {"draft", "scheduled", "active", "paused"},
    "delete": {"draft", "completed", "cancelled", "failed"},
}
CODES = {
    "schedule": "batch_not_draft",
    "pause": "batch_not_active",
    "resume": "batch_not_paused",
    "cancel": "batch_is_final",
    "delete": "batch_is_live",
}
FROM = {"schedule": "draft", "pause": "active", "resume": "paused", "cancel": "active", "delete": "draft"}


def act(client: TestClient, batch_id: str, action: str) -> Any:
    path = f"/batch-calls/{batch_id}"
    return client.delete(path) if action == "delete" else client.post(f"{path}/{action}")


def in_status(client: TestClient, draft: Draft, world: World, status: str) -> str:
    later = world.clock.now.add(days=1).isoformat()
    batch = draft(
        contacts=2, **({"scheduled_at": later, "schedule_type": "scheduled"} if status == "scheduled" else {})
    )
    batch_id: str = batch["id"]
    if status != "draft":
        assert act(client, batch_id, "schedule").status_code == 200
    if status not in ("draft", "scheduled", "active"):
        world.sql("UPDATE batches SET status = :status WHERE id = :id", status=status, id=batch_id)
    return batch_id


@pytest.mark.parametrize("action", ALLOWED)
def test_what_a_status_does_not_allow_is_refused_with_a_code_and_the_status(
    client: TestClient, draft: Draft, world: World, action: str
) -> None:
    for status in STATUSES:
        answer = act(client, in_status(client, draft, world, status), action)
        if status in ALLOWED[action]:
            assert answer.status_code == (204 if action == "delete" else 200), (status, answer.text)
        else:
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (422, CODES[action])
            assert error["message"].startswith(f"Batch is {status}; only ")


def test_the_message_names_what_could_be_paused(client: TestClient, draft: Draft) -> None:
    message = act(client, draft()["id"], "pause").json()["error"]["message"]
    assert message == "Batch is draft; only an active or scheduled batch can be paused"


def test_a_batch_without_contacts_a_window_a_number_or_an_agent_is_not_scheduled(
    client: TestClient, draft: Draft, world: World
) -> None:
    def refused(batch: dict[str, Any]) -> str:
        answer = act(client, batch["id"], "schedule")
        assert answer.status_code == 422
        assert client.get(f"/batch-calls/{batch['id']}").json()["data"]["status"] == "draft"
        return str(answer.json()["error"]["code"])

    assert refused(draft()) == "batch_has_no_contacts"
    mondays = [world.clock.now.add(weeks=week).date().isoformat() for week in range(1000)]
    never = draft(contacts=1, working_days=[1], excluded_dates=mondays)
    assert refused(never) == "window_never_opens"
    batch = draft(contacts=1)
    world.sql("UPDATE agents SET status = 'inactive'")
    assert refused(batch) == "agent_not_ready"
    world.sql("UPDATE agents SET status = 'active'")
    world.sql("UPDATE phone_numbers SET status = 'inactive'")
    assert refused(batch) == "no_outbound_number"
    world.sql("UPDATE phone_numbers SET status = 'active'")


StatusAndCode = tuple[int, str | None]
State = str | None
DONE = {"schedule": "active", "pause": "paused", "resume": "active", "cancel": "cancelled", "delete": None}


def one_after_the_other(
    status: str, actions: Sequence[str]
) -> tuple[list[StatusAndCode], State, list[tuple[str, State]]]:
    """What each is told, the status in the end (None: deleted), and the history, where they are done in this order."""
    responses: list[StatusAndCode] = []
    state: State = status
    history: list[tuple[str, State]] = []
    for action in actions:
        if state is None:
            responses.append((404, "not_found"))
        elif state not in ALLOWED[action]:
            responses.append((422, CODES[action]))
        else:
            responses.append((204 if action == "delete" else 200, None))
            history.append((state, DONE[action]))
            state = DONE[action]
    return responses, state, [] if state is None else history


@pytest.mark.parametrize(("first", "second"), list(combinations_with_replacement(ALLOWED, 2)))
def test_two_at_once_are_told_and_bring_about_what_one_after_the_other_would(
    client: TestClient, draft: Draft, world: World, first: str, second: str
) -> None:
    before = FROM[first]
    responses, state, history = one_after_the_other(before, (first, second))
    responses_2, state_2, history_2 = one_after_the_other(before, (second, first))
    either = [(responses, state, history), (responses_2[::-1], state_2, history_2)]
    for _ in range(4):
        batch_id = in_status(client, draft, world, before)
        begun = world.value("SELECT count(*) FROM batch_history WHERE batch_id = :id", id=batch_id)
        with ThreadPoolExecutor(2) as pool:
            barrier = Barrier(2)

            def race(action: str, batch_id: str = batch_id, barrier: Barrier = barrier) -> StatusAndCode:
                barrier.wait(DEADLINE_SECONDS)
                answer = act(client, batch_id, action)
                return answer.status_code, None if answer.is_success else answer.json()["error"]["code"]

            answers = list(pool.map(race, (first, second)))
        assert (answers, *stored(world, batch_id, begun)) in either


def stored(world: World, batch_id: str, begun: int) -> tuple[State, list[tuple[str, State]]]:
    """The status of a batch, and its history since then; its contacts, counts and due time fit the status."""
    world.change_pages()
    written = world.rows(
        "SELECT from_status, to_status FROM batch_history WHERE batch_id = :id ORDER BY id OFFSET :begun",
        id=batch_id, begun=begun,
    )  # fmt: skip
    batch_rows = world.rows(
        """
        SELECT b.status, p.next_dispatch_at IS NOT NULL AS is_due, p.pending, p.cancelled,
               (SELECT count(*) FROM contacts c WHERE c.batch_id = b.id AND c.status = 'pending') AS callable
        FROM batches b JOIN batch_progress p ON p.batch_id = b.id WHERE b.id = :id
        """,
        id=batch_id,
    )
    if not batch_rows:
        assert world.value("SELECT count(*) FROM contacts WHERE batch_id = :id", id=batch_id) == 0
        return None, []
    ((status, is_due, *counts),) = batch_rows
    assert is_due == (status == "active")
    assert counts == ([0, 2, 0] if status == "cancelled" else [2, 0, 2])
    return status, [tuple(row) for row in written]


@pytest.mark.parametrize("action", ["delete", "cancel", "schedule"])
def test_an_import_that_meets_an_action_is_stored_or_refused_as_a_whole(
    client: TestClient, draft: Draft, world: World, action: str
) -> None:
    file = "phone\n" + "\n".join(f"+1202{number}" for number in range(2_000_000, 2_004_000))
    for _ in range(6):
        batch_id = draft(contacts=1)["id"]
        barrier = Barrier(2)

        def load(batch_id: str = batch_id, barrier: Barrier = barrier) -> int:
            barrier.wait(DEADLINE_SECONDS)
            path = f"/batch-calls/{batch_id}/contacts"
            status: int = client.post(path, content=file, headers={"Content-Type": "text/csv"}).status_code
            return status

        def later(batch_id: str = batch_id, barrier: Barrier = barrier) -> int:
            barrier.wait(DEADLINE_SECONDS)
            status: int = act(client, batch_id, action).status_code
            return status

        with ThreadPoolExecutor(2) as pool:
            loaded, acted = pool.submit(load), pool.submit(later)
            assert loaded.result(DEADLINE_SECONDS) in {200, 404, 422, 503}
            assert acted.result(DEADLINE_SECONDS) in {200, 204, 422}
        world.change_pages()
        held = world.value("SELECT count(*) FROM contacts WHERE batch_id = :id", id=batch_id)
        gone = action == "delete" and acted.result() == 204
        assert held == 0 if gone else (held > 1) == (loaded.result() == 200)
        world.sql("UPDATE batches SET status = 'cancelled' WHERE status IN ('draft', 'active')")


def test_operators_who_act_while_calls_are_made_meet_no_deadlock(
    client: TestClient, draft: Draft, world: World
) -> None:
    ids = [in_status(client, draft, world, "active") for _ in range(6)]
    barrier = Barrier(3)

    def engine() -> list[int]:
        barrier.wait(DEADLINE_SECONDS)
        for _ in range(20):
            world.dispatch(tick(world.context, world.clock.now).due)
            settle(world.context, world.clock.now)
        return []

    def operator(order: list[str]) -> list[int]:
        barrier.wait(DEADLINE_SECONDS)
        return [act(client, batch_id, action).status_code for batch_id in order for action in ("pause", "resume") * 3]

    with ThreadPoolExecutor(3) as pool:
        work = [pool.submit(engine), pool.submit(operator, ids), pool.submit(operator, ids[::-1])]
        answers = [answer for future in work for answer in future.result(DEADLINE_SECONDS)]
    assert set(answers) <= {200, 422}
    assert 200 in answers


# A transaction that waits for a lock.
WAITS = "SELECT pid, xact_start FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"


@pytest.mark.parametrize(
    ("meanwhile", "status", "code"),
    [
        ("DELETE FROM batches WHERE id = :id", 404, "not_found"),
        ("UPDATE batches SET status = 'cancelled' WHERE id = :id", 422, "batch_not_draft"),
    ],
)
def test_scheduling_a_batch_that_another_deletes_or_cancels_says_what_is_so(
    api: Api, draft: Draft, world: World, meanwhile: str, status: int, code: str
) -> None:
    batch_id = draft(contacts=1)["id"]
    # Requests give up waiting for a lock sooner than this other one ends.
    context = wiring.context_of(api.settings, timeouts=Timeouts(lock_seconds=0.6, idle_seconds=30))
    with api.served(context=context) as served, ThreadPoolExecutor(1) as pool:
        with world.db.begin() as other:
            run(other, meanwhile, id=batch_id)
            asked = pool.submit(served.client.post, f"/batch-calls/{batch_id}/schedule")
            wait_until(lambda: world.rows(WAITS))
            first = set(world.rows(WAITS))
            wait_until(lambda: set(world.rows(WAITS)) - first)
        answer = asked.result()
    wiring.close(context)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
