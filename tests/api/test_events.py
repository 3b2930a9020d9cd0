"""`/batch-calls/{id}/events`: what a listener is told, by a real server over a real socket."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from api.conftest import Api, Draft, Served
from dialer.api.batch_streams import BatchStreams, StreamSubscriber
from dialer.store.batch_streams import BatchChanges
from support.deadline import DEADLINE_SECONDS, wait_until
from support.world import World


def events(
    served: Served, batch_id: str, last_id: str = "", *, seconds: int = DEADLINE_SECONDS
) -> list[tuple[str, str, Any]]:
    """Everything that is told until the stream ends: (event, id, data)."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    path = f"/batch-calls/{batch_id}/events"
    with served.client.sse(path, params={"max_seconds": seconds}, headers=headers) as stream:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        return [(event.event, event.id, json.loads(event.data)) for event in stream]


@pytest.fixture
def served(api: Api) -> Iterator[Served]:
    with api.served() as served:
        yield served


def finish(world: World, batch_id: str) -> None:
    world.run(lambda: world.value("SELECT status FROM batches WHERE id = :id", id=batch_id) == "completed")


def test_a_listener_is_told_progress_every_change_of_status_and_the_end(
    served: Served, draft: Draft, world: World
) -> None:
    batch_id = draft(contacts=3)["id"]
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(events, served, batch_id)
        served.until_streams(1)
        assert served.client.post(f"/batch-calls/{batch_id}/schedule").status_code == 200
        served.client.post(f"/batch-calls/{batch_id}/pause")
        served.client.post(f"/batch-calls/{batch_id}/resume")
        finish(world, batch_id)
        received = stream.result()
    changes = [(data["from"], data["to"]) for event, _, data in received if event == "status"]
    assert changes == [
        ("draft", "active"), ("active", "paused"), ("paused", "active"), ("active", "completed"),
    ]  # fmt: skip
    progress = [data for event, _, data in received if event == "progress"]
    assert (progress[0]["status"], progress[0]["counts"]["pending"]) == ("draft", 3)
    assert (progress[-1]["status"], progress[-1]["calls"]) == ("completed", {"in_progress": 0})
    assert (received[-1][0], received[-1][2]) == ("end", {"status": "completed", "status_reason": None})
    assert all(data["at"].endswith("Z") for event, _, data in received if event == "status")
    assert progress[-1]["drained_at"].endswith("Z")


def test_a_listener_that_comes_back_is_told_what_it_missed_also_by_another_process(
    api: Api, draft: Draft, world: World
) -> None:
    batch_id = draft(contacts=1)["id"]
    with api.served() as first:
        before = events(first, batch_id, seconds=1)
        assert [event for event, _, _ in before] == ["progress"]
        first.client.post(f"/batch-calls/{batch_id}/schedule")
    finish(world, batch_id)
    with api.served() as second:
        after = events(second, batch_id, before[-1][1])
        assert [data["to"] for event, _, data in after if event == "status"] == ["active", "completed"]
        assert [event for event, _, _ in after[-2:]] == ["progress", "end"]
        again = second.client.get(f"/batch-calls/{batch_id}/events", headers={"Last-Event-ID": after[-1][1]})
        assert again.status_code == 204
        # An id from before the database was restored, or of nothing.
        restored = events(second, batch_id, "999999999999999999")
        assert [(event, event_id) for event, event_id, _ in restored] == [
            (event, after[-1][1]) for event in ("progress", "end")
        ]


def test_many_listeners_cost_one_query_a_second(served: Served, draft: Draft) -> None:
    batch_id, batch_streams = draft()["id"], served.app.state.batch_streams
    with ThreadPoolExecutor(40) as pool:
        streams = [pool.submit(events, served, batch_id) for _ in range(40)]
        served.until_streams(40)
        before, begun_at = batch_streams.polls, time.monotonic()
        wait_until(lambda: batch_streams.polls >= before + 3)
        assert batch_streams.polls - before <= time.monotonic() - begun_at + 1
        served.client.post(f"/batch-calls/{batch_id}/cancel")
        for stream in streams:
            assert [event for event, _, _ in stream.result()] == ["progress", "status", "progress", "end"]


def test_a_stream_in_which_nothing_happens_is_kept_alive_and_tells_progress_once(
    served: Served, draft: Draft, world: World
) -> None:
    served.app.state.batch_streams = BatchStreams(world.db, heartbeat_seconds=0.05)
    path = f"/batch-calls/{draft(contacts=1)['id']}/events"
    stream = served.client.get(path, params={"max_seconds": 2}).text
    assert stream.count("event: progress") == 1
    assert stream.count(": heartbeat\n\n") >= 5


def test_a_change_that_a_listener_knows_is_not_told_to_it_when_another_asks_for_it() -> None:
    subscriber = StreamSubscriber(last_id=2)
    subscriber.update(BatchChanges({"status": "active"}, tuple({"id": change} for change in (1, 2, 3)), last_id=3))
    changes, _ = subscriber.take()
    assert [change["id"] for change in changes] == [3]


def test_progress_is_told_at_most_once_a_second(served: Served, draft: Draft, world: World) -> None:
    batch_id = draft()["id"]
    with ThreadPoolExecutor(1) as pool:
        begun_at = time.monotonic()
        stream = pool.submit(events, served, batch_id)
        served.until_streams(1)
        for name in range(200):
            world.sql("UPDATE batches SET name = :name WHERE id = :id", name=str(name), id=batch_id)
        served.client.post(f"/batch-calls/{batch_id}/cancel")
        received = stream.result()
    progress = [data["name"] for event, _, data in received if event == "progress"]
    assert 2 <= len(progress) <= time.monotonic() - begun_at + 1
    assert progress[-1] == "199"


@pytest.mark.parametrize("view", ["AS SELECT * FROM put_away WHERE 1 / (id - id) = 1", None])
def test_a_stream_survives_any_error_of_a_poll(served: Served, draft: Draft, world: World, view: str | None) -> None:
    batch_id, batch_streams = draft()["id"], served.app.state.batch_streams
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(events, served, batch_id)
        served.until_streams(1)
        world.sql("ALTER TABLE batch_history RENAME TO put_away")
        try:
            if view is not None:
                world.sql(f"CREATE VIEW batch_history {view}")
            polls = batch_streams.polls
            wait_until(lambda: batch_streams.polls >= polls + 2)
        finally:
            world.sql("DROP VIEW IF EXISTS batch_history")
            world.sql("ALTER TABLE put_away RENAME TO batch_history")
        assert served.client.post(f"/batch-calls/{batch_id}/cancel").status_code == 200
        received = stream.result()
    assert [data["to"] for event, _, data in received if event == "status"] == ["cancelled"]
    assert received[-1][0] == "end"


def test_a_process_that_stops_ends_its_streams_at_once(api: Api, draft: Draft) -> None:
    batch_id = draft(contacts=1)["id"]
    with ThreadPoolExecutor(1) as pool:
        with api.served() as served:
            stream = pool.submit(events, served, batch_id, seconds=120)
            served.until_streams(1)
        assert [event for event, _, _ in stream.result()] == ["progress"]


def test_a_stream_needs_a_batch_of_the_workspace(api: Api, served: Served, draft: Draft) -> None:
    batch_id = draft()["id"]
    key = api.key(workspace=api.workspace("other"))
    answer = httpx2.get(f"{served.url}/batch-calls/{batch_id}/events", headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_stream_tells_how_far_the_contacts_of_a_cancelled_batch_are_and_ends_with_them(
    served: Served, draft: Draft, world: World
) -> None:
    batch_id = draft(contacts=3)["id"]
    served.client.post(f"/batch-calls/{batch_id}/cancel")
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(events, served, batch_id)
        served.until_streams(1)
        world.change_pages()
        received = stream.result()
    told = [(data["counts"]["cancelled"], data["is_finishing"]) for event, _, data in received if event == "progress"]
    assert told == [(0, True), (3, False)]
    assert received[-1][0] == "end"
