"""One reading a second feeds every open page of a process."""

import asyncio

from api.conftest import Api
from console.signed_in_client import client_of, flat
from dialer import wiring
from dialer.api.auth import Caller
from dialer.console.explanations import Explanations
from dialer.console.live import DETAILED, LivePages, OpenPage
from dialer.console.visitor import Visitor
from dialer.domain.ids import BatchId
from dialer.domain.roles import Role
from dialer.service import batches, keys, sessions


def visitor_of(api: Api, secret: str) -> Visitor:
    session = sessions.find(api.world.db, secret)
    identity = session.identity
    caller = Caller(
        context=api.world.context,
        settings=api.settings,
        workspace_id=identity.workspace_id,
        workspace=identity.workspace,
        key_id=identity.key_id,
        role=identity.role,
        now=api.world.clock.now,
        rng=api.world.rng,
    )
    return Visitor(caller, session)


def pages_of(api: Api) -> LivePages:
    return LivePages(api.world.db, api.world.clock, Explanations(api.world.context, wiring.seconds))


def page_of(api: Api, secret: str, *batch_ids: BatchId) -> OpenPage:
    return OpenPage(visitor_of(api, secret), "batch_row.html", frozenset(batch_ids), api.world.clock.now)


async def test_ten_pages_cost_as_many_readings_as_one(api: Api) -> None:
    batch_id = api.world.batch(3)
    live = pages_of(api)
    secret = sessions.sign_in(api.world.db, api.key())
    pages = [page_of(api, secret, batch_id) for _ in range(10)]

    async def first_news(page: OpenPage) -> list[object]:
        async for changed in live.follow(page, 30):
            return [view["id"] for view in changed]
        return []

    assert await asyncio.gather(*map(first_news, pages)) == [[batch_id]] * 10
    assert live.polls == 1
    assert live.open_pages == 0


async def test_a_revoked_key_ends_the_streams_of_its_sessions(api: Api) -> None:
    world = api.world
    batch_id = world.batch(3)
    live = pages_of(api)
    key = api.key()
    page = page_of(api, sessions.sign_in(world.db, key), batch_id)
    news = live.follow(page, 15)
    assert len(await anext(news)) == 1
    await asyncio.to_thread(
        keys.revoke, world.db, world.installed.workspace_id, keys.authenticate(world.db, key).key_id
    )
    assert [changed async for changed in news][-1] == []
    assert page.is_over


async def test_a_page_hears_only_of_its_own_workspace_and_batch(api: Api) -> None:
    world = api.world
    one, _ = world.batch(2), world.batch(2)
    live = pages_of(api)
    own = page_of(api, sessions.sign_in(world.db, api.key()), one)
    foreign = page_of(api, sessions.sign_in(world.db, api.key(workspace=api.workspace("other"))), one)
    live_set, views = live._read([own, foreign])
    assert len(live_set) == 2
    for page in (own, foreign):
        page.update(views)
    assert [view["id"] for view in own.take()] == [one]
    assert foreign.take() == []
    own.update(views)
    assert own.take() == []


async def test_a_batch_that_is_created_later_is_announced(api: Api) -> None:
    world = api.world
    page = page_of(api, sessions.sign_in(world.db, api.key()))
    world.clock.now = world.clock.now.add(seconds=5)
    batch_id = world.batch(1)
    _, views = pages_of(api)._read([page])
    page.update(views)
    assert [(view["id"], page.is_new(view)) for view in page.take()] == [(batch_id, True)]


async def test_a_batch_that_is_deleted_ends_its_page_and_is_marked_in_lists(api: Api) -> None:
    world = api.world
    batch_id, other = world.batch(0, start=False), world.batch(0, start=False)
    live = pages_of(api)
    secret = sessions.sign_in(world.db, api.key())
    of_batch, of_list = page_of(api, secret, batch_id), page_of(api, secret, batch_id, other)
    of_batch.template = DETAILED
    pages = [of_batch, of_list]
    for expected in ({"draft"}, {"deleted"}, set()):
        _, views = live._read(pages)
        for page in pages:
            page.update(views)
        assert {view["status"] for view in of_list.take() if view["id"] == batch_id} == expected
        assert of_batch.is_over == (expected != {"draft"})
        if expected == {"draft"}:
            batches.delete(world.db, world.installed.workspace_id, batch_id)
    with client_of(api, Role.VIEWER) as console:
        text = flat(console.get(f"/console/batches/{batch_id}").text)
        assert "<p>No such batch in this workspace</p> </div> <p>Somebody may have deleted it.</p>" in text
