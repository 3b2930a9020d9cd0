"""The console in a real browser: Debian's Chromium, driven by Playwright, against the API in this process."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from api.conftest import Api, Served, api, quiet  # noqa: F401  (fixtures)
from dialer.domain.roles import Role
from support.deadline import DEADLINE_SECONDS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# The browser looks for its maker's servers too.
ONLY_LOOPBACK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
expect.set_options(timeout=DEADLINE_SECONDS * 1000 / 3)


@dataclass
class Console:
    """A browser whose pages are those of the console."""

    api: Api
    served: Served
    browser: Browser
    url: str
    #: What the browser complained of: uncaught errors, and what the Content-Security-Policy refused.
    complaints: list[str]

    def page(self, **options: Any) -> Page:
        """Open a page of its own session, not signed in."""
        context = self.browser.new_context(base_url=self.url, **options)
        context.set_default_timeout(DEADLINE_SECONDS * 1000 / 3)
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type == "error" and "Failed to load resource" not in message.text
                else None
            ),
        )
        return page

    def signed_in(self, role: Role = Role.OPERATOR, **options: Any) -> Page:
        """Open the first page, signed in with a new key of this role."""
        page = self.page(**options)
        page.goto("/console")
        sign_in(page, self.api.key(role))
        return page


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


# Per module, since asyncio tests of other modules cannot run while Playwright's loop does.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", ONLY_LOOPBACK])
        yield browser
        browser.close()


@pytest.fixture
def console(api: Api, browser: Browser) -> Iterator[Console]:  # noqa: F811
    with api.served() as served:
        console = Console(api, served, browser, served.url.removesuffix("/v1"), [])
        yield console
        for context in browser.contexts:
            context.close()
    assert console.complaints == []
