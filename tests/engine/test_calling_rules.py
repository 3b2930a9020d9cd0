"""Numbers that a workspace may not call are refused row by row, and never called if they were loaded before."""

import pytest

from dialer.domain.calling_rules import COUNTRY, PREMIUM_RATE
from dialer.errors import InvalidInput, NotFound
from dialer.service import workspaces
from dialer.service.demo_setup import WORKSPACE
from support.world import World

PREMIUM, GERMAN, AMERICAN = "+491805123456", "+4930901820", "+12025550101"


def states(world: World) -> dict[str, tuple[str, str | None]]:
    contacts = world.rows("SELECT phone_number, status, status_reason FROM contacts")
    return {row.phone_number: (row.status, row.status_reason) for row in contacts}


def test_an_import_says_of_each_row_why_it_may_not_be_called(world: World) -> None:
    workspaces.limit(world.db, WORKSPACE, ["DE", "at"], None)
    batch_id = world.batch([], start=False)
    report = world.add(batch_id, [PREMIUM, GERMAN, AMERICAN])
    assert (report.imported, report.rejected) == (1, 2)
    assert [(error.row, error.phone_number) for error in report.errors] == [(2, PREMIUM), (4, AMERICAN)]
    assert "premium-rate" in report.errors[0].reason
    assert "country" in report.errors[1].reason


def test_contacts_that_were_loaded_before_the_rule_are_never_called(world: World) -> None:
    workspaces.limit(world.db, WORKSPACE, None, True)
    world.batch([PREMIUM, GERMAN, AMERICAN])
    workspaces.limit(world.db, WORKSPACE, ["DE"], False)
    world.run(lambda: all(status in ("failed", "completed") for status, _ in states(world).values()))
    assert states(world) == {
        PREMIUM: ("failed", PREMIUM_RATE),
        GERMAN: ("completed", "normal_clearing"),
        AMERICAN: ("failed", COUNTRY),
    }
    attempts = world.rows("SELECT to_number, state, provider_call_id IS NULL FROM attempts")
    assert {tuple(row) for row in attempts} == {
        (AMERICAN, "refused", True),
        (GERMAN, "ended", False),
        (PREMIUM, "refused", True),
    }


def test_every_country_may_be_called_again(world: World) -> None:
    workspaces.limit(world.db, WORKSPACE, ["DE"], None)
    workspaces.limit(world.db, WORKSPACE, ["all"], None)
    assert world.add(world.batch([], start=False), [AMERICAN, GERMAN]).imported == 2
    (workspace,) = workspaces.list_all(world.db)
    assert (workspace["name"], workspace["countries"], workspace["premium_rate"]) == (WORKSPACE, None, False)


def test_a_workspace_or_a_country_that_does_not_exist_is_refused(world: World) -> None:
    with pytest.raises(NotFound):
        workspaces.limit(world.db, "nobody", ["DE"], None)
    with pytest.raises(InvalidInput):
        workspaces.limit(world.db, WORKSPACE, ["DE", "Germany"], None)
