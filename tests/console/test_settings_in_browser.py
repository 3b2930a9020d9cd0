"""Settings of a running batch in the browser: drawn hours, the impact, the change; and a forecast."""

import re

from playwright.sync_api import expect

from console.conftest import Console, needs_browser
from console.test_accessibility import violations

pytestmark = needs_browser


def test_hours_are_drawn_as_they_are_typed_and_a_change_is_shown_before_it_is_made(console: Console) -> None:
    world = console.api.world
    batch_id = world.batch(9, max_concurrent_calls=3, timezone="Europe/Berlin", start_time="09:00", end_time="18:00")
    world.step()
    page = console.signed_in()
    expect(page.get_by_role("heading", name="Batches")).to_be_visible()
    page.goto(f"/console/batches/{batch_id}")
    page.get_by_role("button", name="Forecast now").click()
    expect(page.get_by_role("heading", name="Attempts per day")).to_be_visible()
    assert list(violations(page)) == []
    page.get_by_role("link", name="Change the settings").click()
    expect(page.get_by_text(re.compile("Open now; closes Mon 2 Mar 2026 18:00 CET"))).to_be_visible()
    page.get_by_text("Other hours on some days").click()
    page.get_by_label("Mon", exact=True).last.fill("08:00-09:00, 14:00-16:00")
    expect(page.get_by_text(re.compile("Closed now; opens Mon 2 Mar 2026 14:00 CET"))).to_be_visible()
    page.get_by_label("Mon", exact=True).last.fill("08:00-")
    expect(page.locator("#week")).to_contain_text("day 1: times must be written as in 09:30")
    page.get_by_label("Mon", exact=True).last.fill("08:00-09:00, 14:00-16:00")
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_text("6 contacts cannot be called any more, or lose their retry")).to_be_visible()
    assert list(violations(page)) == []
    page.get_by_label("Reason, for the history").fill("shorter day")
    page.get_by_role("button", name="Change it now").click()
    expect(page.get_by_text("Why is no new call started?")).to_be_hidden()
    page.get_by_role("link", name="History").click()
    expect(page.get_by_text("Mon 08:00 to 09:00, 14:00 to 16:00")).to_be_visible()
    page.get_by_role("button", name="Undo the latest change of settings").click()
    expect(page.get_by_text("Back to version 1")).to_be_visible()
