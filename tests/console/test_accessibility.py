"""axe finds no serious violation on any page, in light and dark; and no page is wider than a small telephone."""

from collections.abc import Iterator

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from console.conftest import Console, needs_browser
from console.pages import populate
from dialer.domain.roles import Role

pytestmark = needs_browser


def test_no_page_has_a_serious_violation_or_is_wider_than_a_small_telephone(console: Console) -> None:
    pages = populate(console.api, called=16)
    signed_out = console.page(color_scheme="light")
    signed_out.goto("/console")
    assert list(violations(signed_out)) == []
    page = console.signed_in(Role.ADMIN, color_scheme="light")
    wide = page.viewport_size
    assert wide is not None
    expect(page.get_by_role("heading", name="Batches")).to_be_visible()
    found = []
    for name, path in pages.items():
        page.goto(path)
        if name == "batch-done":
            expect(page.locator(".u-legend").first).to_be_visible()
        found += [(name, *violation) for violation in violations(page)]
        page.set_viewport_size({"width": 360, "height": 740})
        assert (name, page.evaluate("document.documentElement.scrollWidth")) == (name, 360)
        page.set_viewport_size(wide)
    assert found == []
    # Long names without a space do not make them wider either.
    page.set_viewport_size({"width": 360, "height": 740})
    for table in ("batches", "contacts", "agents"):
        console.api.world.sql(f"UPDATE {table} SET name = repeat('W', 200)")
    console.api.world.sql("UPDATE contacts SET variables = jsonb_build_object(repeat('W', 64), name)")
    for name in ("batches", "batch-done", "contacts", "contact", "settings", "history", "stop", "agents", "wall"):
        page.goto(pages[name])
        assert (name, page.evaluate("document.documentElement.scrollWidth")) == (name, 360)


def violations(page: Page) -> Iterator[tuple[str, str, str]]:
    """Yield the serious violations in dark and in light: rule, help, and the elements at fault."""
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        for each in Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]:
            if each["impact"] in ("serious", "critical"):
                yield each["id"], each["help"], "; ".join(node["html"][:120] for node in each["nodes"][:5])
