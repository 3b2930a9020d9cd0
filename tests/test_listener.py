"""The listener in front of a simulated network and a real database: no call event is lost, and none is stored twice."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from uuid import UUID

import pendulum
import pytest
from pendulum import DateTime
from structlog.testing import capture_logs

from dialer.domain.ids import AttemptId, TrunkId, uuid7
from dialer.embedded import Servers
from dialer.listener import Listener
from dialer.providers.base import CallRequest, Placed
from dialer.providers.simulator import NetworkProfile, Simulator, SimulatorServer, serve
from dialer.service import demo_setup, resources, trunks
from dialer.settings import Settings
from dialer.store.database import Database, rows, run
from dialer.wiring import connecting
from support.deadline import DEADLINE_SECONDS
from support.ledger_rows import Ledger
from support.networks import asterisk
from support.proxy import Proxy, proxied
from support.world import World

RNG = Random(7)
REPORTS_PER_CALL = 3
QUICK: dict[str, Any] = {"speed": 1000, "outcomes": {"answered": 1}}
CONNECT = connecting(Settings())
ENDED = {"type": "ChannelDestroyed", "timestamp": "2030-01-07T09:00:00.000+0000", "cause": 16}


def utc_now() -> DateTime:
    return pendulum.now("UTC")


class Line:
    """A trunk in the database whose network is served in this process."""

    def __init__(self, db: Database, server: SimulatorServer, trunk_id: TrunkId) -> None:
        self.db, self.server, self.trunk_id = db, server, trunk_id

    async def call(self) -> None:
        """Have the network place a call that is answered and ends within a fraction of a second."""
        now = utc_now()
        profile = NetworkProfile.parse(QUICK | {"url": self.server.url})
        simulator = Simulator(self.trunk_id, profile, utc_now)
        request = CallRequest(
            AttemptId(uuid7(now, RNG)), "+12025550100", "+12025550191", {}, 30.0, now.add(seconds=20), None
        )
        assert isinstance(await simulator.place(request), Placed)
        await simulator.close()

    def stored(self) -> int:
        with self.db.begin() as connection:
            return int(rows(connection, "SELECT count(*) FROM inbox WHERE trunk_id = :id", id=self.trunk_id)[0][0])

    def sql(self, statement: str, **values: Any) -> None:
        with self.db.begin() as connection:
            run(connection, statement, **values)

    def value(self, statement: str) -> Any:
        with self.db.begin() as connection:
            return rows(connection, statement)[0][0]

    async def has_stored(self, calls: int) -> None:
        await until(lambda: self.stored() == calls * REPORTS_PER_CALL)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def line(db: Database) -> AsyncIterator[Line]:
    server = await serve("127.0.0.1", 0, utc_now)
    installed = demo_setup.install(db, QUICK | {"url": server.url}, utc_now(), RNG)
    try:
        yield Line(db, server, installed.trunk_id)
    finally:
        await server.close()


@asynccontextmanager
async def listening(db: Database, ask_settle: Callable[[], object] = lambda: None) -> AsyncIterator[None]:
    stopped = asyncio.Event()
    task = asyncio.create_task(
        Listener(db, uuid7(utc_now(), RNG), CONNECT, ask_settle, reread_seconds=0.05).run(stopped)
    )
    try:
        yield
    finally:
        stopped.set()
        await asyncio.wait_for(task, DEADLINE_SECONDS)


@pytest.fixture
def proxy(migrated: str) -> Iterator[Proxy]:
    with proxied(migrated) as between:
        yield between


async def test_each_report_is_stored_once_and_settle_is_asked_after_it_is_there(db: Database) -> None:
    asked: list[int] = []
    async with line(db) as trunk, listening(db, lambda: asked.append(trunk.stored())):
        await asyncio.gather(*(trunk.call() for _ in range(5)))
        await trunk.has_stored(calls=5)
        # A duplicate would arrive before the end of this later call.
        await trunk.call()
        await trunk.has_stored(calls=6)
    assert asked
    assert min(asked) > 0


async def test_a_settle_that_cannot_be_asked_loses_no_report(db: Database) -> None:
    def fail() -> None:
        raise ConnectionError("the broker does not answer")

    async with line(db) as trunk, listening(db, fail):
        for calls in (1, 2):
            await trunk.call()
            await trunk.has_stored(calls)


async def test_trunks_are_followed_as_they_are_added_moved_and_deactivated(db: Database) -> None:
    async with listening(db), line(db) as first:
        await first.call()
        await first.has_stored(calls=1)
        async with line(db) as second:  # the same trunk, at another address
            assert second.trunk_id == first.trunk_id
            await until(lambda: not first.server.connections)
            await second.call()
            await second.has_stored(calls=2)
            second.sql("UPDATE trunks SET status = 'inactive'")
            await until(lambda: not second.server.connections)
            await second.call()
            second.sql("UPDATE trunks SET status = 'active'")
            await second.has_stored(calls=3)


async def test_a_listener_that_lives_says_so_for_networks_that_speak_but_once(db: Database) -> None:
    def age() -> float:
        with db.begin() as connection:
            return float(
                rows(connection, "SELECT max(extract(epoch FROM dialer_now() - heard_at)) FROM trunk_links")[0][0]
            )

    async with line(db) as trunk, listening(db):
        await trunk.call()
        await trunk.has_stored(calls=1)
        trunk.sql("UPDATE trunk_links SET heard_at = heard_at - interval '1 hour'")
        await until(lambda: age() < 600)


async def test_one_trunk_that_cannot_be_used_does_not_keep_the_others_from_being_heard(db: Database) -> None:
    async with line(db) as trunk:
        for provider, config in (("no-such-provider", "{}"), ("simulator", '{"speed": "fast"}')):
            trunk.sql(
                "INSERT INTO trunks (id, workspace_id, name, provider, config)"
                " SELECT gen_random_uuid(), workspace_id, :name, :provider, CAST(:config AS jsonb)"
                " FROM trunks WHERE id = :id",
                id=trunk.trunk_id,
                name=f"bad {provider}",
                provider=provider,
                config=config,
            )
        async with listening(db):
            await trunk.call()
            await trunk.has_stored(calls=1)


async def test_a_trunk_that_is_not_heard_is_logged_once_and_again_when_the_reason_changes(db: Database) -> None:
    def reasons() -> list[str]:
        return [line["reason"] for line in logged if line["event"] == "trunk is not heard"]

    async def tried_again(trunk: Line) -> None:
        """Wait until the listener has tried the trunk three more times, and recorded why it has no connection."""
        for _ in range(3):
            trunk.sql("UPDATE trunk_links SET reason = 'not tried yet'")
            await until(lambda: trunk.value("SELECT max(reason) FROM trunk_links") != "not tried yet")

    with capture_logs() as logged:
        async with line(db) as trunk:
            trunk.sql("""UPDATE trunks SET config = '{"speed": "fast"}'""")
            async with listening(db):
                await until(lambda: len(reasons()) == 1)
                await until(lambda: trunk.value("SELECT count(*) FROM trunk_links") == 1)
                await tried_again(trunk)
                assert len(reasons()) == 1
                trunk.sql("""UPDATE trunks SET config = '{"talk_seconds": "long"}'""")
                await until(lambda: len(reasons()) == 2)
                await tried_again(trunk)
            assert len(set(reasons())) == len(reasons()) == 2


async def test_trunks_of_one_asterisk_share_a_socket_and_each_gets_the_reports_of_its_own_calls(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*next(iter(asterisk.ENVIRONMENT.items())))
    ledger = Ledger(world)
    attempt_ids = [AttemptId(UUID(ledger.attempt(contact, 0))) for contact in range(2)]
    foreign = AttemptId(uuid7(utc_now(), RNG))
    ledger.write()

    def add(port: int) -> list[TrunkId]:
        trunk_ids = [TrunkId(uuid7(utc_now(), RNG)) for _ in range(3)]
        for nth, trunk_id in enumerate(trunk_ids):
            config = asterisk.trunk(port)["config"] | {"endpoint": f"PJSIP/{{number}}@provider{nth}"}
            world.sql(
                "INSERT INTO trunks (id, workspace_id, name, provider, config)"
                " SELECT :id, workspace_id, :name, 'asterisk', CAST(:config AS jsonb) FROM trunks LIMIT 1",
                id=trunk_id, name=f"trunk {nth}", config=json.dumps(config),
            )  # fmt: skip
        for attempt_id, trunk_id in zip(attempt_ids, trunk_ids, strict=False):
            world.sql("UPDATE attempts SET trunk_id = :trunk WHERE id = :id", trunk=trunk_id, id=attempt_id)
        return trunk_ids

    def stored() -> set[tuple[TrunkId, AttemptId]]:
        return {(row.trunk_id, row.attempt_id) for row in world.rows("SELECT trunk_id, attempt_id FROM inbox")}

    def heard() -> int:
        return int(world.value("SELECT count(*) FROM trunk_links l WHERE linked_at IS NOT NULL"))

    async with asterisk.serve(0, QUICK) as server:
        trunk_ids = add(server.port)
        async with listening(world.db):
            await until(lambda: heard() == 3)
            assert len(server.sockets) == 1
            for of in (foreign, *attempt_ids):
                server.say(ENDED | {"channel": {"id": str(of), "state": "Up"}})
            await until(lambda: len(stored()) == 2)
        assert stored() == set(zip(trunk_ids, attempt_ids, strict=False))
        resources.delete(world.db, trunks.trunk_type(), world.installed.workspace_id, trunk_ids[2])


async def test_what_cannot_be_stored_while_the_database_is_down_is_not_acknowledged_and_comes_later(
    db: Database, proxy: Proxy
) -> None:
    through = Database(proxy.url)
    async with line(db) as trunk, listening(through):
        await trunk.call()
        await trunk.has_stored(calls=1)
        heard = len(trunk.server.connections)
        proxy.down()
        await trunk.call()
        # The listener closes the socket after an event that it cannot store, and cannot read the trunks to open it.
        await until(lambda: len(trunk.server.connections) < heard)
        assert trunk.stored() == REPORTS_PER_CALL
        proxy.up()
        await trunk.has_stored(calls=2)
    through.close()


async def test_as_a_process_it_stores_reports_and_leaves_on_term(db: Database, servers: Servers) -> None:
    environment = {"DIALER_DATABASE_URL": servers.database_url, "DIALER_REDIS_URL": servers.redis_url}
    async with line(db) as trunk:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dialer", "listener", env=os.environ | environment, stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        try:
            await trunk.call()
            await trunk.has_stored(calls=1)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), DEADLINE_SECONDS) == 0
            logged = (await process.stderr.read()).decode().splitlines()
            assert [re.search("process (started|stopped)", line) is not None for line in logged] == [True, True]
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
