"""A page that changes by itself leaves in place what someone reads or types."""

from playwright.sync_api import expect

from console.conftest import Console, needs_browser
from console.many_batches import copy_batches
from dialer.domain.ids import BatchId
from dialer.domain.roles import Role
from dialer.service import batches

pytestmark = needs_browser


def test_the_list_does_not_jump_while_someone_reads_and_types(console: Console) -> None:
    world = console.api.world
    ids = copy_batches(world, 40)
    page = console.signed_in(Role.OPERATOR)
    expect(page.locator("tbody tr")).to_have_count(40)
    page.get_by_label("Name").fill("spri")
    page.mouse.wheel(0, 500)
    page.wait_for_function("() => scrollY > 100")
    before = page.evaluate("scrollY")
    batches.pause(world.db, world.installed.workspace_id, BatchId(ids[-1]))
    expect(page.locator(f"#row-{ids[-1]} .status")).to_have_text("paused")
    assert page.evaluate("scrollY") == before
    expect(page.get_by_label("Name")).to_have_value("spri")
    expect(page.get_by_label("Name")).to_be_focused()


def test_a_list_of_numbers_not_to_be_called_is_loaded_in_place(console: Console) -> None:
    page = console.signed_in(Role.OPERATOR)
    expect(page.get_by_role("heading", name="Batches")).to_be_visible()
    page.goto("/console/system/suppressions")
    file = {"name": "list.csv", "mimeType": "text/csv", "buffer": b"phone,reason\n+12025550112,asked\nnobody,\n"}
    page.get_by_label("CSV file").set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="Load the list").click()
    expect(page.get_by_text("1 number loaded.")).to_be_visible()
    expect(page.get_by_role("cell", name="nobody")).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="+12025550112")).to_be_visible()
