"""Sign-in: a key becomes a session, which ends with its key."""

import re

from playwright.sync_api import expect

from console.conftest import Console, needs_browser, sign_in
from dialer.domain.roles import Role

pytestmark = needs_browser


def test_a_key_opens_the_list_of_batches_and_sign_out_closes_it(console: Console) -> None:
    batch_id = console.api.world.batch(3, name="Reminders <script>alert(1)</script>")
    page = console.page()
    page.goto("/console")
    sign_in(page, console.api.key(Role.VIEWER))
    expect(page.get_by_role("heading", name="Batches")).to_be_visible()
    link = page.get_by_role("link", name="Reminders <script>alert(1)</script>")
    expect(link).to_have_attribute("href", f"/console/batches/{batch_id}")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.goto("/console")
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_wrong_key_is_refused_with_a_reason(console: Console) -> None:
    page = console.page()
    page.goto("/console")
    sign_in(page, "dialer_wrong")
    expect(page.get_by_role("alert")).to_have_text(re.compile("malformed, unknown or revoked"))
