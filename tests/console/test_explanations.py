"""Why nothing is being called, in words, without an explanation for each look at the page."""

import re
from dataclasses import replace

from api.conftest import Api
from console.signed_in_client import client_of
from console.test_live import page_of
from dialer import wiring
from dialer.console.explanations import MAX_AGE_SECONDS, Explanations
from dialer.console.live import LivePages
from dialer.domain.roles import Role
from dialer.service import batch_views, batches, sessions


def test_a_batch_outside_its_hours_says_when_the_next_call_starts_and_in_which_zone(api: Api) -> None:
    batch_id = api.world.batch(12, timezone="Europe/Berlin", start_time="18:00", end_time="20:00")
    with client_of(api, Role.VIEWER) as console:
        text = console.text(f"/console/batches/{batch_id}")
        listed = console.text(f"/console/batches/{batch_id}/contacts?reason=outside_batch_hours")
    assert "Why is nothing being called?" in text
    link = f"/console/batches/{batch_id}/contacts"
    counts = f'<strong><a href="{link}?reason=none">0</a> of <a href="{link}">12</a></strong>'
    assert f"{counts} contacts can be called now. The next call starts" in text
    link += "?reason=outside_batch_hours"
    assert re.search(
        rf'{re.escape(link)}"><strong>12</strong> outside the hours of the batch</a>, the first .*18:00 CET', text
    )
    assert "Export these as CSV" in listed
    assert listed.count('<th scope="row"') == 12
    assert f'/console/batches/{batch_id}/results.csv?reason=outside_batch_hours"' in listed


def test_what_is_wrong_with_the_engine_is_said(api: Api) -> None:
    world = api.world
    batch_id = world.batch(3)
    world.clock.now = world.clock.now.add(minutes=5)
    with client_of(api, Role.VIEWER) as console:
        text = console.text(f"/console/batches/{batch_id}")
    assert "The batch is due, and no worker has taken it" in text
    assert "somebody who runs this installation has to look" in text


def test_a_paused_batch_says_who_paused_it_and_why_each_contact_waits(api: Api) -> None:
    world = api.world
    batch_id = world.batch(4, max_concurrent_calls=2)
    world.step()
    with client_of(api, Role.OPERATOR) as console:
        assert console.post(f"/console/batches/{batch_id}/pause", {"reason": "lunch <b>break</b>"}).status_code == 303
        text = console.text(f"/console/batches/{batch_id}")
    calls = f'<a href="/console/batches/{batch_id}/calls?kind=in_progress">2 calls</a>'
    assert f"Stopping: {calls} in progress; no new call starts" in text
    assert "Why is no new call started?" in text
    assert re.search(r"The batch is paused: since .*; changed by key; lunch &lt;b&gt;break&lt;/b&gt;", text)
    assert re.search(r'reason=in_call"><strong>2</strong> in a call', text)


def test_the_calls_in_progress_of_a_cancelled_batch_are_counted_down(api: Api) -> None:
    world = api.world
    batch_id = world.batch(4, max_concurrent_calls=2)
    world.step()
    with client_of(api, Role.OPERATOR) as console:
        console.post(f"/console/batches/{batch_id}/cancel", {"in_progress": "finish", "reason": "moved"})
        assert "2 calls</a> in progress; no new call starts." in console.text(f"/console/batches/{batch_id}")
        world.run(world.clock.now.add(minutes=30))
        text = console.text(f"/console/batches/{batch_id}")
    assert ("Stopping" in text, "because: moved" in text) == (False, True)


def test_a_batch_that_calls_as_it_may_is_not_explained(api: Api) -> None:
    world = api.world
    batch_id = world.batch(8, max_concurrent_calls=2)
    world.step()
    with client_of(api, Role.VIEWER) as console:
        assert "Why is n" not in console.text(f"/console/batches/{batch_id}")


def test_an_explanation_serves_every_page_for_some_seconds_and_until_the_batch_changes(api: Api) -> None:
    world, seconds = api.world, [0.0]
    batch_id = world.batch(3)
    explanations = Explanations(world.context, lambda: seconds[0])

    def look() -> object:
        batch = batch_views.show(world.db, world.installed.workspace_id, batch_id, world.clock.now)
        assert explanations.latest(batch) in (None, explanations.of(batch, world.clock.now))
        return explanations.of(batch, world.clock.now)

    first = look()
    assert look() is first
    seconds[0] += MAX_AGE_SECONDS
    second = look()
    assert second is not first
    assert second == first
    batches.pause(world.db, world.installed.workspace_id, batch_id)
    assert look() != second


def test_a_page_is_shown_without_its_explanation_where_that_takes_too_long(api: Api) -> None:
    world = api.world
    batch_id = world.batch(3)
    batch = batch_views.show(world.db, world.installed.workspace_id, batch_id, world.clock.now)
    too_slow = replace(world.context, db=world.db.hurried(0, wiring.seconds))
    assert Explanations(too_slow, wiring.seconds).of(batch, world.clock.now) is None


async def test_an_open_page_gets_the_explanation_with_the_next_reading(api: Api) -> None:
    world = api.world
    batch_id = world.batch(3)
    secret = sessions.sign_in(world.db, api.key())
    page = page_of(api, secret, batch_id)
    page.template = "batch_state.html"
    live = LivePages(world.db, world.clock, Explanations(world.context, wiring.seconds))
    news = []
    async for views in live.follow(page, 30):
        news += [view["why"] for view in views]
        if news[-1]:
            break
    assert [why and why["total"] for why in news] == [None, 3]
