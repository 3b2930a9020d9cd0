"""What pages cost the server: statements and bytes, which are the same on every machine, and not seconds."""

import asyncio
from functools import partial

from fastapi import APIRouter, FastAPI

from api.conftest import Api
from console.many_batches import copy_batches
from console.signed_in_client import client_of
from console.test_live import page_of
from dialer.api.app import warm_up
from dialer.console.page import templates
from dialer.domain.ids import BatchId
from dialer.service import sessions
from support.recorded_statements import recorded_statements
from support.world import World

# The session, the batches, their calls of today and kept forecasts, and the agents of the filter: their page and count.
STATEMENTS_OF_THE_LIST = 6
MAX_BYTES_OF_THE_LIST = 120_000


def test_what_first_requests_would_wait_for_is_done_before() -> None:
    app, router = FastAPI(), APIRouter()
    router.add_api_route("/x", lambda: None)
    app.include_router(router)
    # FastAPI's own record of the routes that it has built.
    assert not app.routes[-1]._effective_candidates  # type: ignore[attr-defined]
    warm_up(app)
    assert app.routes[-1]._effective_candidates  # type: ignore[attr-defined]
    assert templates.cache is not None
    assert len(templates.cache) == len(templates.list_templates())


def test_the_list_of_a_thousand_batches_costs_as_much_as_that_of_sixty(api: Api, world: World) -> None:
    costs = []
    with client_of(api) as admin:
        for more in (60, 940):
            copy_batches(world, more)
            world.clock.now = world.clock.now.add(seconds=1)
            page = admin.get("/console")
            sent = recorded_statements(world.db, partial(admin.get, "/console"))
            costs.append((len(sent), page.text.count("<tr id=")))
            assert len(page.content) < MAX_BYTES_OF_THE_LIST
    assert world.value("SELECT count(*) FROM batches") == 1000
    assert costs == [(STATEMENTS_OF_THE_LIST, 50)] * 2


def test_ten_open_pages_cost_the_database_as_many_statements_as_one(api: Api, world: World) -> None:
    batch_ids = [BatchId(batch_id) for batch_id in copy_batches(world, 50)]
    live = api.app().state.live_pages
    secrets = [sessions.sign_in(world.db, api.key()) for _ in range(10)]
    pages = [page_of(api, secret, *batch_ids) for secret in secrets]
    one, ten = [len(recorded_statements(world.db, partial(live._read, shown))) for shown in (pages[:1], pages)]
    # Which sessions go on, the batches, their calls of today and kept forecasts.
    assert (one, ten) == (4, 4)


async def test_ten_open_pages_are_fed_by_one_reading_a_second(api: Api, world: World) -> None:
    batch_ids = [BatchId(batch_id) for batch_id in copy_batches(world, 3)]
    live = api.app().state.live_pages
    secrets = await asyncio.to_thread(lambda: [sessions.sign_in(world.db, api.key()) for _ in range(10)])
    pages = [page_of(api, secret, *batch_ids) for secret in secrets]
    began_at = asyncio.get_running_loop().time()

    async def follow(index: int) -> None:
        async for changed in live.follow(pages[index], 60):
            if any(view["name"] == "changed" for view in changed):
                return

    async def change() -> None:
        while live.polls < 3:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(world.sql, "UPDATE batches SET name = 'changed'")

    await asyncio.gather(change(), *(follow(index) for index in range(10)))
    assert live.polls <= 1 + asyncio.get_running_loop().time() - began_at
    assert live.open_pages == 0
