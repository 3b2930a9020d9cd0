"""One batch in the browser: stop and go while it runs, what two people see, and what a viewer may not."""

import re
import socket
import time

from playwright.sync_api import Browser, Page, expect

from api.conftest import Api
from console.conftest import Console, needs_browser, sign_in
from dialer.domain.roles import Role
from dialer.service import batches
from support.deadline import DEADLINE_SECONDS

pytestmark = needs_browser

HIDE = """is_hidden => {
    Object.defineProperty(document, "hidden", { value: is_hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def hide_and_show(console: Console, page: Page) -> None:
    """Put the only page into the background, which gives its connection back, and look at it again."""
    live = console.served.app.state.live_pages
    for is_hidden in (True, False):
        page.evaluate(HIDE, is_hidden)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while bool(live.open_pages) is is_hidden:
            assert time.monotonic() < deadline
            page.wait_for_timeout(20)


def test_pause_and_resume_while_it_runs_and_a_second_browser_sees_it(console: Console) -> None:
    world = console.api.world
    batch_id = world.batch(30, max_concurrent_calls=5)
    world.step()
    page, other = console.signed_in(), console.signed_in(Role.VIEWER)
    for one in (page, other):
        one.goto(f"/console/batches/{batch_id}")
        expect(one.locator(".status").first).to_have_text("active")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text(re.compile("Stopping: 5 calls in progress"))).to_be_visible()
    expect(other.get_by_text(re.compile("Stopping: 5 calls in progress"))).to_be_visible()
    expect(other.get_by_role("button", name="Resume")).to_have_count(0)
    # What was chosen and not sent stays while the page changes.
    page.get_by_text("Cancel …").click()
    page.get_by_label("are hung up").check()
    page.get_by_label("Reason, if you like").focus()
    world.run(world.clock.now.add(minutes=10))
    expect(other.get_by_text("It is paused")).to_be_visible()
    expect(page.get_by_text("Stopping")).to_have_count(0)
    expect(page.get_by_label("are hung up")).to_be_checked()
    page.get_by_role("button", name="Resume").click()
    expect(other.locator(".status").first).to_have_text("active")
    world.run(lambda: world.is_over(batch_id))
    expect(other.locator(".status").first).to_have_text("completed")
    expect(other.locator(".u-legend").first).to_be_visible()


def test_a_held_page_stays_as_it_is(console: Console) -> None:
    world = console.api.world
    batch_id = world.batch(5)
    page = console.signed_in()
    expect(page.get_by_role("link", name="test")).to_be_visible()
    hide_and_show(console, page)
    page.get_by_label("Live").uncheck()
    world.run(lambda: world.is_over(batch_id))
    expect(page.get_by_text("Held: this page does not change")).to_be_visible()
    expect(page.locator(".batches .status")).to_have_text("active")
    page.get_by_label("Live").check()
    expect(page.locator(".batches .status")).to_have_text("completed")


def test_the_page_of_a_contact_changes_when_it_has_been_called(console: Console) -> None:
    world = console.api.world
    batch_id = world.batch(1)
    page = console.signed_in(Role.VIEWER)
    page.goto(f"/console/batches/{batch_id}/contacts")
    page.locator("tbody a").first.click()
    expect(page.get_by_text("It would be called now")).to_be_visible()
    world.run(lambda: world.is_over(batch_id))
    expect(page.get_by_text("It would be called now")).to_have_count(0)
    expect(page.get_by_text(re.compile(r"waited \d+\.\d s"))).to_be_visible()


def test_a_viewer_is_refused_what_it_has_no_button_for(console: Console) -> None:
    batch_id = console.api.world.batch(3)
    page = console.signed_in(Role.VIEWER)
    page.goto(f"/console/batches/{batch_id}")
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    expect(page.get_by_role("link", name="New batch")).to_have_count(0)
    token = page.locator('meta[name="form-token"]').get_attribute("content")
    status = page.evaluate(
        "async ([path, token]) => (await fetch(path, {method: 'POST', headers: {'X-Form-Token': token}})).status",
        [f"/console/batches/{batch_id}/pause", token],
    )
    assert status == 403
    assert console.api.world.progress(batch_id).status == "active"


def test_every_batch_is_paused_after_one_question(console: Console) -> None:
    world = console.api.world
    for name in ("first", "second"):
        world.batch(3, name=name)
    page = console.signed_in()
    page.get_by_role("link", name="pause …").click()
    page.get_by_role("button", name="Pause 2 batches").click()
    expect(page.locator(".batches .status")).to_have_text(["paused", "paused"])


def test_an_expired_session_leads_to_the_sign_in_page(console: Console) -> None:
    world = console.api.world
    world.batch(3)
    page = console.signed_in()
    expect(page.get_by_role("heading", name="Batches")).to_be_visible()
    world.sql("UPDATE console_sessions SET expires_at = dialer_now()")
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_page_shows_whose_it_is_after_another_tab_has_signed_in_with_another_key(console: Console) -> None:
    api = console.api
    api.world.batch(1, name="of default")
    page = console.page()
    other = page.context.new_page()
    for tab in (page, other):
        tab.goto("/console")
    sign_in(page, api.key(Role.VIEWER))
    expect(page.get_by_role("link", name="of default")).to_be_visible()
    sign_in(other, api.key(Role.VIEWER, api.workspace("second")))
    expect(other.get_by_text("second · viewer")).to_be_visible()
    for is_hidden in (True, False):
        page.evaluate(HIDE, is_hidden)
    expect(page.get_by_text("second · viewer")).to_be_visible()
    expect(page.get_by_role("link", name="of default")).to_have_count(0)


def test_the_page_recovers_when_the_api_was_restarted(api: Api, browser: Browser) -> None:
    world = api.world
    batch_id = world.batch(5)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with api.served(port=port) as served:
        console = Console(api, served, browser, served.url.removesuffix("/v1"), [])
        page = console.signed_in(Role.VIEWER)
        expect(page.locator(".batches .status")).to_have_text("active")
    expect(page.get_by_text("Connection lost; trying again")).to_be_visible()
    world.run(lambda: world.is_over(batch_id))
    with api.served(port=port):
        expect(page.locator(".batches .status")).to_have_text("completed")
        page.close()


def test_a_batch_that_was_added_is_offered_and_then_live(console: Console) -> None:
    world = console.api.world
    world.batch(3, name="old")
    page = console.signed_in()
    expect(page.get_by_role("link", name="old")).to_be_visible()
    world.clock.now = world.clock.now.add(seconds=5)
    batch_id = world.batch(3, name="new")
    expect(page.get_by_text("A batch was added")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Show it").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    batches.pause(world.db, world.installed.workspace_id, batch_id)
    expect(page.locator("tr", has_text="new").locator(".status")).to_have_text("paused")
