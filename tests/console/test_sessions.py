"""Sessions, without a browser: what is refused, and when a session ends."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api
from dialer.console.visitor import MAX_FIELDS
from dialer.domain.roles import Role
from dialer.service import keys, sessions
from support.world import World

ORIGIN = {"Origin": "http://testserver"}


@pytest.fixture
def browser(api: Api) -> Iterator[TestClient]:
    """A client with a cookie jar, not signed in."""
    with TestClient(api.app(), raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


def signed_in(client: TestClient, key: str) -> str:
    """Sign in; return the token that forms of this session carry."""
    answer = client.post("/console/sign-in", data={"key": key, "after": "/console"}, headers=ORIGIN)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console"), answer.text
    return client.get("/console").text.partition('name="form-token" content="')[2].partition('"')[0]


def is_signed_in(client: TestClient) -> bool:
    return "API key" not in client.get("/console").text


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(api: Api, browser: TestClient) -> None:
    for origin, is_secure in (("http://testserver", False), ("https://testserver", True)):
        answer = browser.post("/console/sign-in", data={"key": api.key()}, headers={"Origin": origin})
        cookie = answer.headers["Set-Cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "path=/console" in cookie
        assert ("secure" in cookie) == is_secure


def test_a_session_that_somebody_else_has_chosen_is_not_adopted(api: Api, browser: TestClient) -> None:
    browser.cookies.set("dialer_session", "planted", path="/console")
    answer = browser.post("/console/sign-in", data={"key": api.key()}, headers=ORIGIN)
    assert "planted" not in answer.headers["Set-Cookie"]
    with TestClient(api.app()) as other:
        other.cookies.set("dialer_session", "planted", path="/console")
        assert not is_signed_in(other)


def test_a_form_of_too_many_fields_is_refused(browser: TestClient) -> None:
    form = "&".join(["key=x"] * (MAX_FIELDS + 1))
    headers = ORIGIN | {"Content-Type": "application/x-www-form-urlencoded"}
    assert browser.post("/console/sign-in", content=form, headers=headers).status_code == 400


def test_only_a_hash_of_the_session_is_stored(api: Api, browser: TestClient, world: World) -> None:
    signed_in(browser, api.key())
    secret = browser.cookies["dialer_session"].encode()
    assert secret not in world.value("SELECT secret_hash FROM console_sessions")


def test_a_revoked_key_ends_its_sessions_at_once(api: Api, browser: TestClient, world: World) -> None:
    key = api.key()
    signed_in(browser, key)
    assert is_signed_in(browser)
    keys.revoke(world.db, world.installed.workspace_id, keys.authenticate(world.db, key).key_id)
    assert not is_signed_in(browser)


def test_a_session_expires_and_is_removed_by_a_later_sign_in(api: Api, browser: TestClient, world: World) -> None:
    signed_in(browser, api.key())
    world.clock.now += sessions.LIFETIME
    assert not is_signed_in(browser)
    signed_in(browser, api.key())
    assert world.value("SELECT count(*) FROM console_sessions") == 1


def test_the_sessions_that_go_on_are_told_from_those_that_ended(api: Api, world: World) -> None:
    first, second = (sessions.sign_in(world.db, api.key()) for _ in range(2))
    hashes = [sessions.find(world.db, secret).hash for secret in (first, second)]
    assert sessions.live_among(world.db, hashes) == set(hashes)
    sessions.sign_out(world.db, first)
    assert sessions.live_among(world.db, hashes) == {hashes[1]}


def test_sign_out_ends_the_session_on_the_server(api: Api, browser: TestClient, world: World) -> None:
    token = signed_in(browser, api.key())
    secret = browser.cookies["dialer_session"]
    browser.post("/console/sign-out", data={"form_token": token}, headers=ORIGIN)
    browser.cookies.set("dialer_session", secret, path="/console")
    assert not is_signed_in(browser)


@pytest.mark.parametrize(
    ("headers", "has_token"),
    [({"Origin": "http://elsewhere"}, True), ({"Origin": "null"}, True), ({}, True), (ORIGIN, False)],
    ids=["of another site", "of an opaque origin", "without origin", "without token"],
)
def test_a_forged_request_is_refused(api: Api, browser: TestClient, headers: dict[str, str], has_token: bool) -> None:
    token = signed_in(browser, api.key())
    form = {"form_token": token} if has_token else {"form_token": "x"}
    answer = browser.post("/console/sign-out", data=form, headers=headers)
    assert answer.status_code == 403
    assert is_signed_in(browser)


def test_a_token_of_another_session_is_refused(api: Api, browser: TestClient) -> None:
    other = TestClient(api.app(), follow_redirects=False)
    token = signed_in(other, api.key())
    signed_in(browser, api.key())
    assert browser.post("/console/sign-out", data={"form_token": token}, headers=ORIGIN).status_code == 403


def test_after_many_wrong_keys_the_address_waits(api: Api, browser: TestClient) -> None:
    answers = [browser.post("/console/sign-in", data={"key": "x"}, headers=ORIGIN).status_code for _ in range(21)]
    assert answers == [401] * 20 + [429]
    refused = browser.post("/console/sign-in", data={"key": api.key()}, headers=ORIGIN)
    assert (refused.status_code, "Retry-After" in refused.headers) == (429, True)


def test_nobody_is_sent_to_another_site_after_sign_in(api: Api, browser: TestClient) -> None:
    for after in ("https://elsewhere/console", "//elsewhere/console", "/console\\..\\..", "/console\r\nX: 1"):
        answer = browser.post("/console/sign-in", data={"key": api.key(), "after": after}, headers=ORIGIN)
        assert answer.headers["Location"] == "/console"


def test_every_page_forbids_foreign_and_inline_scripts(api: Api, browser: TestClient) -> None:
    answers = [browser.get("/console"), browser.get("/console/nothing")]
    signed_in(browser, api.key(Role.VIEWER))
    answers += [browser.get("/console"), browser.get("/console?status=nonsense")]
    assert [answer.status_code for answer in answers] == [200, 401, 200, 422]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        # Nothing is shown again by the back button after sign-out, or in a frame of another site.
        assert (answer.headers["Cache-Control"], answer.headers["X-Frame-Options"]) == ("no-store", "DENY")
        assert "<script>" not in answer.text
        assert "style=" not in answer.text
        assert "onclick" not in answer.text
