"""`dialer trunks test`: one call outside any batch, and what is said of it."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from threading import Event, Thread
from uuid import uuid4

import pendulum
import pytest

from cli.conftest import Dialer, query
from dialer.listener import Listener
from dialer.service import demo_setup
from dialer.settings import Settings
from dialer.store.database import Database
from dialer.wiring import connecting
from support.deadline import wait_until
from support.networks import freeswitch
from support.world import World

pytestmark = pytest.mark.usefixtures("in_cluster")

QUICK = {"speed": 20, "talk_seconds": {"mean": 20, "min": 20, "max": 20}}
OPTIONS = ["--trunk", "Switch", "--from", "+12025550177", "--agent", "demo"]


@contextmanager
def switch(outcome: str) -> Iterator[int]:
    """A FreeSWITCH in a thread of its own; its port."""
    ports: list[int] = []
    is_up, may_go = Event(), Event()

    async def run() -> None:
        async with freeswitch.serve(0, {**QUICK, "outcomes": {outcome: 1}}) as fake:
            ports.append(fake.port)
            is_up.set()
            await asyncio.to_thread(may_go.wait)

    thread = Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert is_up.wait(20)
    try:
        yield ports[0]
    finally:
        may_go.set()
        thread.join()


def install(world: World, port: int) -> None:
    config = freeswitch.trunk(port)["config"]
    world.sql(
        """
        WITH made AS (INSERT INTO trunks (id, workspace_id, name, provider, config)
                      VALUES (gen_random_uuid(), :workspace, 'Switch', 'freeswitch', CAST(:config AS jsonb))
                      RETURNING id)
        INSERT INTO phone_numbers (id, workspace_id, phone_number, trunk_id)
        SELECT gen_random_uuid(), :workspace, '+12025550177', id FROM made
        """,
        workspace=world.installed.workspace_id,
        config=json.dumps(config),
    )
    connection = json.dumps({"freeswitch": freeswitch.CONNECTION})
    world.sql("UPDATE agents SET connection = CAST(:connection AS jsonb)", connection=connection)


@pytest.mark.parametrize(
    ("outcome", "code", "events"),
    [("answered", 0, ["placed", "ringing", "answered", "ended"]), ("busy", 1, ["placed", "ended"])],
)
def test_one_call_is_made_and_each_of_its_events_printed(
    dialer: Dialer, world: World, monkeypatch: pytest.MonkeyPatch, outcome: str, code: int, events: list[str]
) -> None:
    monkeypatch.setenv("TRUNK_FREESWITCH_PASSWORD", freeswitch.ENVIRONMENT["TRUNK_FREESWITCH_PASSWORD"])
    with switch(outcome) as port:
        install(world, port)
        result = dialer("trunks", "test", "+12015550123", *OPTIONS, "--yes", "--json")
    assert result.code == code, result
    events_shown = [json.loads(line) for line in result.out.splitlines()]
    assert [event["event"] for event in events_shown if event["event"] != "ringing" or "ringing" in events] == events
    assert events_shown[-1]["outcome"] == outcome
    assert events_shown[-1]["cause"]
    # The codes of the network stand beside what is made of them.
    assert "facts" not in events_shown[-1]
    assert events_shown[-1]["hung_up_by"] == "callee"
    assert world.value("SELECT count(*) FROM attempts") == 0


@contextmanager
def listening(db: Database) -> Iterator[None]:
    """Run a listener in a thread of its own; it hears the trunks when this yields."""
    listener = Listener(db, uuid4(), connecting(Settings()), lambda: None, reread_seconds=0.05)
    loop, stopped = asyncio.new_event_loop(), asyncio.Event()
    thread = Thread(target=lambda: loop.run_until_complete(listener.run(stopped)))
    thread.start()
    try:
        wait_until(lambda: query(db, "SELECT count(*) FROM trunk_links WHERE linked_at IS NOT NULL"))
        yield
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


def test_every_event_is_printed_though_the_network_sends_some_to_another_listener(
    dialer: Dialer, db: Database, network: str
) -> None:
    answered = {"url": network, "speed": 20, "outcomes": {"answered": 1}, "talk_seconds": {"mean": 20, "min": 20}}
    demo_setup.install(db, answered, pendulum.now("UTC"), Random(7))
    arguments = ["--trunk", "simulator", "--from", "+12025550191", "--agent", "demo", "--yes", "--json"]
    with listening(db):
        result = dialer("trunks", "test", "+12015550123", *arguments)
    assert result.code == 0, result
    events = [json.loads(line)["event"] for line in result.out.splitlines()]
    assert events == ["placed", "ringing", "answered", "ended"]


def test_nothing_is_called_that_must_not_be(dialer: Dialer, world: World) -> None:
    install(world, 1)
    world.sql(
        "INSERT INTO suppressions (workspace_id, phone_number) VALUES (:workspace, '+12015550123')",
        workspace=world.installed.workspace_id,
    )
    assert "suppressed" in dialer("trunks", "test", "+12015550123", *OPTIONS, "--yes").refusal
    refused = dialer("trunks", "test", "+12015550123", *OPTIONS)
    assert "suppressed" in refused.refusal
    assert "Continue?" not in refused.out, "it is not asked about a call that cannot be placed"
    assert "premium-rate" in dialer("trunks", "test", "+19002345678", *OPTIONS, "--yes").refusal
    world.sql("UPDATE workspaces SET countries = '{DE}'")
    assert "of a country" in dialer("trunks", "test", "+12015550124", *OPTIONS, "--yes").refusal
    world.sql("UPDATE workspaces SET countries = NULL")
    assert "is not a telephone number" in dialer("trunks", "test", "nobody", *OPTIONS, "--yes").refusal
    assert "none called" in dialer("trunks", "test", "+12015550124", *OPTIONS[2:], "--trunk", "x", "--yes").refusal
    of_another = [
        "--trunk",
        "Switch",
        "--from",
        str(world.value("SELECT max(phone_number) FROM phone_numbers")),
        *OPTIONS[4:],
    ]
    world.sql('UPDATE agents SET connection = \'{"freeswitch": {"application": "system", "data": "x"}}\'')
    assert "is not permitted by trunk" in dialer("trunks", "test", "+12015550124", *OPTIONS, "--yes").refusal
    assert "another trunk" in dialer("trunks", "test", "+12015550124", *of_another, "--yes").refusal
