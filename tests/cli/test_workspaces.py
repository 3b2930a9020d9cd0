"""`dialer workspaces`: the machine's owner says what each workspace may call."""

import json

import pytest

from cli.conftest import Dialer
from support.world import World

pytestmark = pytest.mark.usefixtures("in_cluster")


def test_a_workspace_is_limited_and_shown(dialer: Dialer, world: World) -> None:
    limited = dialer("workspaces", "limit", "default", "--countries", "DE,at", "--premium-rate", "--json")
    (workspace,) = json.loads(dialer("workspaces", "list", "--json").out)
    assert json.loads(limited.out) == workspace
    assert workspace["created_at"].endswith("Z"), "as the API writes times"
    assert (workspace["name"], workspace["countries"], workspace["premium_rate"]) == ("default", ["AT", "DE"], True)
    dialer("workspaces", "limit", "default", "--no-premium-rate")
    dialer("workspaces", "limit", "default", "--countries", "all")
    assert "default" in dialer("workspaces", "list").out
    assert world.rows("SELECT countries, premium_rate FROM workspaces") == [(None, False)]


def test_the_limits_of_persons_are_set_shown_and_removed(dialer: Dialer, world: World) -> None:
    assert dialer("workspaces", "limit", "default", "--person-limits", "3/24,7/168").code == 0
    (workspace,) = json.loads(dialer("workspaces", "list", "--json").out)
    assert workspace["person_limits"] == [{"attempts": 3, "hours": 24}, {"attempts": 7, "hours": 168}]
    dialer("workspaces", "limit", "default", "--premium-rate")
    assert len(world.value("SELECT person_limits FROM workspaces")) == 2
    dialer("workspaces", "limit", "default", "--person-limits", "none")
    assert world.value("SELECT person_limits FROM workspaces") == []


def test_what_cannot_be_is_refused_in_one_line(dialer: Dialer, world: World) -> None:
    for arguments, reason in (
        (("nobody",), "No workspace"),
        (("default", "--countries", "XX"), "countries: must be the two letters"),
        *(
            (("default", "--person-limits", limits), "person_limits: must be attempts (1 to 100) per hours")
            for limits in ("3", "3/24/7", "0/24", "3/721", "x/y", "3/24,3/24", "none,3/24", "")
        ),
    ):
        assert reason in dialer("workspaces", "limit", *arguments).refusal
