"""Which batch a command takes of several with one name: the one that it applies to, or none and a list of them."""

import json
from pathlib import Path

import pytest

from api.conftest import Served
from cli.conftest import Dialer
from dialer.domain.ids import BatchId
from support.operator_requests import schedule
from support.world import MONDAY, World

NAME = "contacts.csv"
OVER = ("completed", "cancelled", "failed")


def in_status(world: World, status: str) -> BatchId:
    later = {"schedule_type": "scheduled", "scheduled_at": str(MONDAY.add(days=1))} if status == "scheduled" else {}
    batch_id = world.batch(2, start=False, name=NAME, **later)
    world.clock.now = world.clock.now.add(seconds=1)
    if status != "draft":
        schedule(world, batch_id)
    if status not in ("draft", "scheduled", "active"):
        world.sql("UPDATE batches SET status = :status WHERE id = :id", status=status, id=batch_id)
    return batch_id


def statuses(world: World) -> dict[BatchId, str]:
    return {row.id: row.status for row in world.rows("SELECT id, status FROM batches")}


@pytest.mark.parametrize(
    ("command", "status", "among", "becomes"),
    [
        ("pause", "active", (*OVER, "draft", "paused"), "paused"),
        ("pause", "scheduled", (*OVER, "draft", "paused"), "paused"),
        ("resume", "paused", (*OVER, "draft", "active", "scheduled"), "active"),
        ("cancel", "active", OVER, "cancelled"),
        ("cancel", "paused", OVER, "cancelled"),
        ("cancel", "draft", OVER, "cancelled"),
        ("schedule", "draft", (*OVER, "active", "paused"), "active"),
    ],
)
def test_an_action_takes_the_only_batch_of_the_name_that_it_applies_to(
    served: Served, dialer: Dialer, world: World, command: str, status: str, among: tuple[str, ...], becomes: str
) -> None:
    others = {in_status(world, other): other for other in among[::2]}
    wanted = in_status(world, status)
    others |= {in_status(world, other): other for other in among[1::2]}
    assert dialer("batch", command, NAME).out == f"Batch {wanted} is {becomes}.\n"
    assert statuses(world) == others | {wanted: becomes}


@pytest.mark.parametrize(
    ("command", "before", "applies"),
    [
        ("pause", ("active", "completed", "scheduled"), (0, 2)),
        ("resume", ("paused", "paused", "active"), (0, 1)),
        ("cancel", ("completed", "draft", "active"), (1, 2)),
        ("schedule", ("draft", "draft"), (0, 1)),
    ],
)
def test_where_an_action_applies_to_several_it_lists_them_and_does_nothing(
    served: Served, dialer: Dialer, world: World, command: str, before: tuple[str, ...], applies: tuple[int, ...]
) -> None:
    made = [in_status(world, status) for status in before]
    refusal = dialer("batch", command, NAME).refusal
    listed = ", ".join(f"{made[n]} ({before[n]})" for n in reversed(applies))
    assert refusal.startswith(f"dialer: batch: {len(made)} are called {NAME}, {len(applies)} of them ")
    assert refusal.endswith(f"; use an id: {listed}")
    assert statuses(world) == dict(zip(made, before, strict=True))


def test_where_an_action_applies_to_none_of_several_they_are_listed_newest_first(
    served: Served, dialer: Dialer, world: World
) -> None:
    made = [in_status(world, "completed") for _ in range(12)]
    newest = ", ".join(f"{batch_id} (completed)" for batch_id in made[:1:-1])
    assert dialer("batch", "pause", NAME).refusal == (
        f"dialer: batch: 12 are called {NAME}, none of them active or scheduled; use an id: {newest} and 2 older ones"
    )


def test_the_only_batch_of_a_name_and_one_that_is_named_by_its_id_are_refused_with_their_status(
    served: Served, dialer: Dialer, world: World
) -> None:
    first = in_status(world, "completed")
    refusal = "dialer: Batch is completed; only an active or scheduled batch can be paused"
    assert dialer("batch", "pause", NAME).refusal == refusal
    in_status(world, "active")
    assert dialer("batch", "pause", str(first)).refusal == refusal


def test_contacts_are_added_to_the_batch_of_the_name_that_is_not_over(
    served: Served, dialer: Dialer, world: World, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text("phone\n+12025550101\n")
    in_status(world, "completed")
    draft = in_status(world, "draft")
    in_status(world, "cancelled")
    assert dialer("contacts", "import", NAME, "list.csv").code == 0
    assert world.rows("SELECT batch_id FROM contacts WHERE phone_number = '+12025550101'") == [(draft,)]
    in_status(world, "active")
    assert f"{draft} (draft)" in dialer("contacts", "import", NAME, "list.csv").refusal


@pytest.mark.parametrize(("before", "taken"), [
    (("completed", "active", "completed"), 1), (("completed", "paused", "draft"), 1), (("failed", "completed"), 1),
    (("completed", "draft"), 1), (("scheduled", "cancelled"), 0),
])  # fmt: skip
def test_what_reads_takes_the_one_that_has_started_else_the_newest_and_says_so(
    served: Served, dialer: Dialer, world: World, before: tuple[str, ...], taken: int
) -> None:
    made = [in_status(world, status) for status in before]
    notice = f"{len(made)} batches are called {NAME}; taking {made[taken]} ({before[taken]}).\n"
    shown = dialer("batch", "show", NAME, "--json")
    assert (json.loads(shown.out)["id"], shown.err) == (str(made[taken]), notice)
    assert dialer("batch", "export", NAME).err == notice
    listed = dialer("contacts", "list", NAME, "--json")
    assert ({contact["batch_id"] for contact in json.loads(listed.out)}, listed.err) == ({str(made[taken])}, notice)
    contact_id = str(json.loads(listed.out)[0]["id"])
    assert dialer("contacts", "show", NAME, contact_id).err == notice


def test_watching_takes_the_one_that_has_started(served: Served, dialer: Dialer, world: World) -> None:
    first = in_status(world, "cancelled")
    second = in_status(world, "completed")
    world.change_pages()
    watched = dialer("batch", "watch", NAME, "--json")
    assert (watched.code, json.loads(watched.out.splitlines()[-1])["id"]) == (0, str(second))
    assert watched.err.startswith(f"2 batches are called {NAME}; taking {second} (completed).\n")
    assert dialer("batch", "watch", str(first)).code == 1


def test_what_reads_lists_those_that_have_started_where_there_are_several(
    served: Served, dialer: Dialer, world: World
) -> None:
    in_status(world, "draft")
    made = [in_status(world, status) for status in ("active", "paused")]
    for command in (("batch", "show"), ("batch", "watch"), ("batch", "export"), ("contacts", "list")):
        assert dialer(*command, NAME).refusal == (
            f"dialer: batch: 2 that have started are called {NAME}; use an id: {made[1]} (paused), {made[0]} (active)"
        )
