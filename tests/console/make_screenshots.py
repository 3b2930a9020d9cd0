"""Writes a picture of every page into build/screenshots: light, dark, narrow, and on a wall (`make screenshots`).

Those of the documents are in the folder `docs` there, under their names.
"""

from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from console.conftest import Console, needs_browser, sign_in
from console.pages import populate

FOLDER = Path(__file__).parents[2] / "build" / "screenshots"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1360, "height": 860}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1360, "height": 860}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light"},
}
# Their names there, and how much of them is shown.
IN_DOCUMENTS = {"batches": ("console-batches.png", 590), "batch-active": ("console.png", 860)}
WALL: dict[str, Any] = {"viewport": {"width": 1920, "height": 1080}, "color_scheme": "dark"}


@needs_browser
def test_screenshots(console: Console) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    pages = populate(console.api)
    key = console.api.key()
    for look, options in LOOKS.items():
        page = console.page(**options)
        page.goto("/console")
        page.screenshot(path=FOLDER / f"sign-in-{look}.png")
        sign_in(page, key)
        expect(page.get_by_role("heading", name="Batches")).to_be_visible()
        for name, path in pages.items():
            page.goto(path)
            page.wait_for_load_state("load")
            if name in ("batch-draft", "batch-ready"):
                expect(page.get_by_role("heading", name="If it is started now")).to_be_visible()
            if look == "light" and name in IN_DOCUMENTS:
                file, height = IN_DOCUMENTS[name]
                clip = {"x": 0, "y": 0, "width": 1360, "height": height}
                page.screenshot(path=FOLDER / "docs" / file, clip=clip)  # type: ignore[arg-type]
            page.screenshot(path=FOLDER / f"{name}-{look}.png", full_page=look != "narrow" or name != "contacts")
    page = console.page(**WALL)
    page.goto("/console?wall=1")
    sign_in(page, key)
    expect(page.locator(".card").first).to_be_visible()
    page.screenshot(path=FOLDER / "wall.png")
