"""Agents, numbers, trunks, suppressions and keys, kept in the browser."""

import re

from playwright.sync_api import expect

from console.conftest import Console, needs_browser, sign_in
from dialer.domain.roles import Role

pytestmark = needs_browser


def test_an_agent_is_added_corrected_and_deleted(console: Console) -> None:
    page = console.signed_in()
    page.get_by_role("link", name="System").click()
    page.get_by_role("link", name="Agents").first.click()
    page.get_by_role("link", name="Add an agent").click()
    page.get_by_label("Name").fill("Front desk")
    page.get_by_label("Where answered calls go").fill("{not json")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_text("connection: is not JSON")).to_be_visible()
    expect(page.get_by_label("Where answered calls go")).to_have_value("{not json")
    page.get_by_label("Where answered calls go").fill('{"simulator": {}}')
    page.get_by_role("button", name="Add").click()
    page.get_by_role("link", name="Front desk").click()
    page.get_by_label("Status").select_option("inactive")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("tr", has_text="Front desk")).to_contain_text("inactive")
    page.get_by_role("link", name="Front desk").click()
    page.get_by_text("Delete …").click()
    page.get_by_role("button", name=re.compile("Delete the")).click()
    expect(page.get_by_role("link", name="Front desk")).to_have_count(0)


def test_a_key_is_shown_once_and_its_revocation_ends_its_session(console: Console) -> None:
    page, other = console.signed_in(Role.ADMIN), console.page()
    expect(page.get_by_role("heading", name="Batches")).to_be_visible()
    page.goto("/console/system/keys")
    page.get_by_label("Name").fill("night shift")
    page.get_by_role("button", name="Make a key").click()
    key = page.locator(".notice code").inner_text()
    other.goto("/console")
    sign_in(other, key)
    expect(other.get_by_role("heading", name="Batches")).to_be_visible()
    page.goto("/console/system/keys")
    expect(page.get_by_text(key)).to_have_count(0)
    page.locator("tr", has_text="night shift").get_by_text("Revoke …").click()
    page.get_by_role("button", name="Revoke night shift").click()
    expect(other.get_by_label("API key")).to_be_visible()


def test_an_empty_limit_of_a_number_is_no_limit(console: Console) -> None:
    world = console.api.world
    number_id = world.installed.number_ids[0]
    page = console.signed_in(Role.ADMIN)
    expect(page.get_by_role("heading", name="Batches")).to_be_visible()
    for typed, stored in (("7", 7), ("", None)):
        page.goto(f"/console/system/numbers/{number_id}")
        page.get_by_label("Calls per day").fill(typed)
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="Outbound numbers")).to_be_visible()
        assert world.value("SELECT max_calls_per_day FROM phone_numbers WHERE id = :id", id=number_id) == stored
