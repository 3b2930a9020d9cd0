"""The list of batches without a browser: its filters, its pages, and actions on all that match."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from api.conftest import Api
from console.signed_in_client import SignedInClient, client_of, text_of
from dialer.domain.ids import BatchId
from dialer.domain.roles import Role
from dialer.service import batches, many_batches
from dialer.service.many_batches import Action, BatchFilter
from support.world import World


@pytest.fixture
def operator(api: Api) -> Iterator[SignedInClient]:
    with client_of(api, Role.OPERATOR) as client:
        yield client


def names_in(page: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="/console/batches/[^"]+">([^<]+)</a>', page)


def batch_of(world: World, contacts: int = 1, **fields: Any) -> BatchId:
    """Create a batch a second after the one before, so that their order is known."""
    world.clock.now = world.clock.now.add(seconds=1)
    return world.batch(contacts, **fields)


def statuses(world: World) -> list[str]:
    return [row.status for row in world.rows("SELECT status FROM batches ORDER BY id")]


def test_filters_are_in_the_address_and_combine(operator: SignedInClient, world: World) -> None:
    for name in ("spring north", "spring south", "autumn"):
        batch_of(world, 1, name=name)
    draft = batch_of(world, 1, name="spring draft", start=False)
    agent = world.installed.agent_id
    assert names_in(operator.get("/console", search="SPRING").text) == ["spring draft", "spring south", "spring north"]
    page = operator.get("/console", search="spring", status="active", agent=str(agent)).text
    assert names_in(page) == ["spring south", "spring north"]
    assert 'value="spring"' in page
    assert f'<option value="{agent}" selected' in page
    assert f"/console/all/pause?search=spring&amp;status=active&amp;agent={agent}" in page
    assert "/console/all/resume" not in page
    assert "No batch matches" in operator.get("/console", search="winter").text
    assert str(draft) in operator.get("/console", status="draft").text


def test_a_filter_means_the_same_batches_in_the_list_in_the_question_and_in_the_action(
    operator: SignedInClient, world: World
) -> None:
    for name, labels in (("north west", ["a b", " "]), ("northwest", ["a b"]), ("south", [])):
        batch_of(world, 1, name=name, labels=labels)
    for which, names in (({"search": " "}, ["north west"]), ({"label": " "}, ["north west"]), ({"label": "c"}, [])):
        assert names_in(operator.get("/console", **which).text) == names
        assert ("1 batch will be paused" in text_of(operator.get("/console/all/pause", **which))) == bool(names)
    operator.post("/console/all/pause", search=" ")
    assert statuses(world) == ["paused", "active", "active"]
    operator.post("/console/all/pause", label="a b")
    assert statuses(world) == ["paused", "paused", "active"]


def test_every_batch_is_on_one_page_of_the_list(operator: SignedInClient, world: World) -> None:
    made = [batch_of(world, 0, name=f"batch {n}", start=False) for n in range(101)]
    address, seen = "/console", list[str]()
    for expected in (50, 50, 1):
        page = operator.get(address).text
        seen += names_in(page)
        assert len(seen) % 50 == expected % 50
        older = re.search(r'href="(\?before=[^"]+)">Older', page)
        address = f"/console{older[1]}" if older else ""
    assert address == ""
    assert seen == [f"batch {n}" for n in reversed(range(len(made)))]


def test_all_that_match_are_paused_and_resumed_after_the_count_was_said(operator: SignedInClient, world: World) -> None:
    for name in ("one north", "two north", "south"):
        batch_of(world, 3, name=name, max_concurrent_calls=2)
    world.step()
    asked = operator.get("/console/all/pause", search="north")
    assert "2 batches will be paused. No new call starts then; 4 calls in progress may finish" in text_of(asked)
    assert statuses(world) == ["active"] * 3
    done = operator.post("/console/all/pause", search="north")
    assert (done.status_code, done.headers["Location"]) == (303, "/console?status=paused&search=north")
    assert statuses(world) == ["paused", "paused", "active"]
    asked = operator.get("/console/all/resume", search="north")
    assert "2 batches will be resumed, and 2 contacts called" in text_of(asked)
    operator.post("/console/all/resume", search="north", digest=digest_in(asked.text))
    assert statuses(world) == ["active"] * 3


def digest_in(page: str) -> str:
    return page.partition('name="digest" value="')[2].partition('"')[0]


def test_an_end_concerns_only_the_batches_that_were_asked_about(operator: SignedInClient, world: World) -> None:
    batch_of(world, 3, name="old north")
    asked = operator.get("/console/all/cancel", search="north")
    assert "1 batch will end for good: 3 contacts will not be called" in text_of(asked)
    batch_of(world, 2, name="new north")
    again = operator.post("/console/all/cancel", search="north", digest=digest_in(asked.text))
    assert (again.status_code, statuses(world)) == (409, ["active", "active"])
    assert "Nothing was done, because other batches match now" in again.text
    assert "2 batches will end for good: 5 contacts" in text_of(again)
    operator.post("/console/all/cancel", search="north", digest=digest_in(again.text))
    assert statuses(world) == ["cancelled", "cancelled"]


def test_batches_that_are_over_are_deleted_and_what_stays_is_named(operator: SignedInClient, world: World) -> None:
    workspace_id = world.installed.workspace_id
    quiet = batch_of(world, 3, name="quiet")
    batches.cancel(world.db, workspace_id, quiet)
    loud = batch_of(world, 3, name="loud <b>", max_concurrent_calls=1)
    world.step()
    batches.cancel(world.db, workspace_id, loud)
    asked = operator.get("/console/all/delete", status="cancelled")
    assert "2 batches will be removed with 6 contacts" in text_of(asked)
    done = operator.post("/console/all/delete", status="cancelled", digest=digest_in(asked.text))
    assert "stayed as before" in done.text
    assert "loud &lt;b&gt;" in done.text
    assert "1 of its calls are still in progress" in done.text
    assert statuses(world) == ["cancelled"]


def test_a_filter_that_cannot_be_read_changes_nothing(operator: SignedInClient, world: World) -> None:
    batch_of(world)
    for wrong in ({"status": "everything"}, {"agent": "nobody"}, {"search": "\0"}, {"label": "\0"}):
        assert operator.post("/console/all/pause", wrong).status_code == 422, wrong
    assert operator.post("/console/all/explode").status_code == 422
    assert statuses(world) == ["active"]


def test_a_wall_shows_live_batches_however_many_are_over(operator: SignedInClient, world: World) -> None:
    batch_of(world, 1, name="still calling")
    over = [batch_of(world, 0, start=False) for _ in range(51)]
    world.sql("UPDATE batches SET status = 'cancelled', completed_at = dialer_now() WHERE id = ANY(:ids)", ids=over)
    page = operator.get("/console", wall="1").text
    assert "still calling" in page
    assert page.count("<article") == 1


def test_a_batch_that_is_deleted_meanwhile_does_not_keep_the_others_from_being_paused(
    operator: SignedInClient, world: World
) -> None:
    ids = [batch_of(world, 1, name=f"batch {n}") for n in range(4)]
    of_question = many_batches.matching(world.db, world.installed.workspace_id, Action.PAUSE, BatchFilter())
    batches.cancel(world.db, world.installed.workspace_id, ids[2])
    batches.delete(world.db, world.installed.workspace_id, ids[2])
    done = many_batches.act(world.context, world.installed.workspace_id, Action.PAUSE, of_question.names, world.rng)
    assert (done.done, [name for name, _ in done.refused]) == (3, ["batch 2"])
    assert statuses(world) == ["paused"] * 3
    assert operator.get("/console", status="paused").text.count("<tr id=") == 3
