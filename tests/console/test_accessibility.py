"""axe finds no serious violation on any page, in light and dark; and no page is wider than a small telephone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from console.conftest import Console, needs_browser
from console.pages import populate
from dialer.domain.roles import Role

pytestmark = needs_browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_violation(console: Console, scheme: str) -> None:
    pages = populate(console.api)
    signed_out = console.page(color_scheme=scheme)
    signed_out.goto("/console")
    assert violations(signed_out) == []
    page = console.signed_in(Role.ADMIN, color_scheme=scheme)
    expect(page.get_by_role("heading", name="Batches")).to_be_visible()
    found = []
    for name, path in pages.items():
        page.goto(path)
        if name == "batch-done":
            expect(page.locator(".u-legend").first).to_be_visible()
        found += [(name, *violation) for violation in violations(page)]
    assert found == []


def violations(page: Page) -> list[tuple[str, str, str]]:
    """Return the serious violations: rule, help, and the elements at fault."""
    found = Axe().run(page).response["violations"]
    return [
        (each["id"], each["help"], "; ".join(node["html"][:120] for node in each["nodes"][:5]))
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def test_no_page_is_wider_than_a_small_telephone(console: Console) -> None:
    pages = populate(console.api)
    page = console.signed_in(Role.ADMIN, viewport={"width": 360, "height": 740})
    expect(page.get_by_role("heading", name="Batches")).to_be_visible()
    for name, path in pages.items():
        page.goto(path)
        assert (name, page.evaluate("document.documentElement.scrollWidth")) == (name, 360)
