"""From nothing to the results of a batch, as an operator does it."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from console.conftest import Console, needs_browser, sign_in
from console.test_batch import hide_and_show
from dialer.domain.roles import Role

pytestmark = needs_browser

LIST = """phone;name;city
+12025550101;Ada;Berlin
12;Nobody;Nowhere
+12025550102;<script>alert(1)</script>;Bonn
+12025550101;Ada again;Berlin
+12025550103;Grace;Kiel
"""


def load(page: Page, path: Path) -> None:
    path.write_text(LIST)
    page.get_by_label("CSV file").set_input_files(path)
    expect(page.get_by_text("The first rows, as they would be read")).to_be_visible()
    expect(page.get_by_text(re.compile("city is a variable"))).to_be_visible()
    expect(page.get_by_text(re.compile("line 3: phone_number"))).to_be_visible()
    page.get_by_role("button", name="Load the list").click()
    expect(page.get_by_text("3 contacts loaded.")).to_be_visible()
    expect(page.get_by_text("1 row rejected, 1 duplicate left out, 0 suppressed.")).to_be_visible()
    expect(page.get_by_text(re.compile("Of 3: 3 will be called, 0 never"))).to_be_visible()


def test_a_list_is_loaded_called_and_taken_home(console: Console, tmp_path: Path) -> None:
    world = console.api.world
    page = console.signed_in()
    page.get_by_role("link", name="New batch").first.click()
    page.get_by_label("Name").fill("Spring")
    page.get_by_label("Time zone of the batch").fill("Europe/Berlin")
    page.get_by_role("button", name="Create the draft").click()
    expect(page.get_by_role("heading", name="Spring")).to_be_visible()
    expect(page.get_by_role("button", name="Start calling")).to_be_disabled()
    load(page, tmp_path / "list.csv")
    hide_and_show(console, page)
    expect(page.get_by_text("3 contacts loaded.")).to_be_visible()
    expect(page.get_by_text(re.compile("Of 3: 3 will be called"))).to_be_visible()
    page.get_by_role("button", name="Start calling").dblclick()
    expect(page.locator(".status").first).to_have_text("active")
    batch_id = world.value("SELECT id FROM batches")
    world.run(lambda: world.is_over(batch_id))
    expect(page.locator(".status").first).to_have_text("completed")
    expect(page.get_by_text("Load more contacts")).to_be_hidden()
    expect(page.get_by_role("heading", name="Outcomes")).to_be_visible()
    expect(page.locator(".u-legend").first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Results as CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == 4
    assert any("<script>" in line for line in lines)


def test_wrong_fields_are_named_and_nothing_that_was_typed_is_lost(console: Console) -> None:
    page = console.signed_in()
    page.goto("/console/batches/new")
    page.get_by_label("Name").fill("Kept")
    page.get_by_label("Time zone of the batch").fill("Mars/Olympus")
    page.get_by_label("From").fill("09:00")
    page.get_by_label("Until").fill("09:00")
    page.get_by_role("button", name="Create the draft").click()
    expect(page.locator("#wrong-timezone")).to_have_text(re.compile("IANA time zone"))
    expect(page.locator("#wrong-end_time")).to_have_text("must not equal start_time")
    expect(page.get_by_label("Name")).to_have_value("Kept")
    assert console.api.world.value("SELECT count(*) FROM batches") == 0


def test_the_keyboard_alone_starts_a_batch(console: Console, tmp_path: Path) -> None:
    page = console.page()
    page.goto("/console")
    page.keyboard.type(console.api.key(Role.OPERATOR))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Batches")).to_be_visible()
    tab_to(page, "New batch")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New batch")).to_be_visible()
    tab_to(page, "Name")
    page.keyboard.type("Keys only")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Keys only")).to_be_visible()
    # The dialog that chooses a file is the system's own.
    load(page, tmp_path / "list.csv")
    page.goto(page.url)
    tab_to(page, "Start calling")
    page.keyboard.press("Enter")
    expect(page.locator(".status").first).to_have_text("active")


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the focus is on what has this label or text."""
    focused = "() => { const f = document.activeElement; return (f.labels && f.labels[0] || f).textContent.trim(); }"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == name:
            return
    raise AssertionError(f"{name} cannot be reached with Tab")


def test_the_sign_in_page_leads_back_to_the_page_that_was_asked_for(console: Console) -> None:
    page = console.page()
    page.goto("/console/batches/new")
    sign_in(page, console.api.key())
    expect(page.get_by_role("heading", name="New batch")).to_be_visible()
