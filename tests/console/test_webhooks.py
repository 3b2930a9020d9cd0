"""Webhook endpoints in the console: added, changed, their secret shown once, their dead letters sent again."""

import re
from collections.abc import Iterator

import pytest

from api.conftest import Api
from console.signed_in_client import SignedInClient, client_of, text_of
from dialer.domain.roles import Role
from support.world import World

ROOT = "/console/system/webhooks"
URL = "https://example.com/dialer"


@pytest.fixture
def admin(api: Api) -> Iterator[SignedInClient]:
    with client_of(api) as client:
        yield client


def secret_in(page: str) -> str | None:
    shown = re.search(r"whsec_[\w+/=]+", page)
    return shown and shown[0]


def test_an_endpoint_is_added_with_a_secret_that_is_shown_once(admin: SignedInClient, world: World) -> None:
    assert "Nobody is told yet" in admin.get(ROOT).text
    made = admin.post(f"{ROOT}/new", url=URL, events=["call.ended", "batch.completed"], description="the <b>CRM</b>")
    endpoint_id, secret = world.rows("SELECT id, secret FROM webhook_endpoints")[0]
    assert (made.status_code, secret_in(made.text)) == (200, secret)
    shown = admin.get(f"{ROOT}/{endpoint_id}")
    assert (shown.status_code, secret_in(shown.text)) == (200, None)
    assert "the &lt;b&gt;CRM&lt;/b&gt;" in admin.get(ROOT).text
    assert world.value("SELECT events FROM webhook_endpoints") == ["call.ended", "batch.completed"]


def test_wrong_fields_are_named_and_what_was_typed_stays(admin: SignedInClient, world: World) -> None:
    refused = admin.post(f"{ROOT}/new", url="ftp://example.com", description="kept")
    assert refused.status_code == 422
    assert "must be a URL that begins with https:// or http://" in refused.text
    assert 'value="ftp://example.com"' in refused.text
    assert 'value="kept"' in refused.text
    assert world.value("SELECT count(*) FROM webhook_endpoints") == 0


def test_an_endpoint_is_changed_gets_another_secret_and_is_deleted(admin: SignedInClient, world: World) -> None:
    admin.post(f"{ROOT}/new", url=URL, events=["call.ended"])
    endpoint_id, secret = world.rows("SELECT id, secret FROM webhook_endpoints")[0]
    address = f"{ROOT}/{endpoint_id}"
    assert admin.post(address, url=URL, events=["call.started"], status="inactive").status_code == 303
    assert world.rows("SELECT events, status FROM webhook_endpoints")[0] == (["call.started"], "inactive")
    rotated = admin.post(f"{address}/rotate-secret")
    assert secret_in(rotated.text) == world.value("SELECT secret FROM webhook_endpoints") != secret
    assert admin.post(f"{address}/delete").status_code == 303
    assert admin.get(address).status_code == 404


def test_dead_letters_are_shown_with_their_reason_and_sent_again(admin: SignedInClient, world: World) -> None:
    admin.post(f"{ROOT}/new", url=URL, events=["batch.completed", "call.ended"])
    address = f"{ROOT}/{world.value('SELECT id FROM webhook_endpoints')}"
    batch_id = world.batch(2)
    world.run(lambda: world.is_over(batch_id))
    world.sql("UPDATE webhook_deliveries SET status = 'dead', finished_at = dialer_now(), error = 'no answer'")
    assert text_of(admin.get(address, status="dead")).count("no answer") == 3
    assert "No message has this status" in admin.get(address, status="delivered").text
    assert "3 messages will be sent again" in admin.post(f"{address}/replay").text
    assert "There was no dead letter" in admin.post(f"{address}/replay").text
    assert world.value("SELECT count(*) FROM webhook_deliveries WHERE status = 'pending'") == 3


def test_messages_are_read_page_by_page(admin: SignedInClient, world: World) -> None:
    admin.post(f"{ROOT}/new", url=URL, events=["call.ended", "contact.finished"])
    address = f"{ROOT}/{world.value('SELECT id FROM webhook_endpoints')}"
    batch_id = world.batch(30)
    world.run(lambda: world.is_over(batch_id))
    first = admin.get(address)
    (older,) = re.findall(r'href="(\?before=\d+)">Older', first.text)
    second = admin.get(f"{address}{older}")
    rows = [page.text.count('<th scope="row">') for page in (first, second)]
    assert rows == [50, world.value("SELECT count(*) FROM webhook_deliveries") - 50]
    assert "Older" not in second.text


def test_endpoints_are_for_admins_of_their_workspace(api: Api, admin: SignedInClient, world: World) -> None:
    admin.post(f"{ROOT}/new", url=URL, events=["call.ended"])
    address = f"{ROOT}/{world.value('SELECT id FROM webhook_endpoints')}"
    for role, workspace, status in ((Role.OPERATOR, None, 403), (Role.ADMIN, api.workspace("other"), 404)):
        with client_of(api, role, workspace) as other:
            posts = [
                other.post(f"{address}{action}", url=URL, events=["call.ended"])
                for action in ("", "/replay", "/rotate-secret", "/delete")
            ]
            assert [answer.status_code for answer in (other.get(address), *posts)] == [status] * 5
    assert world.value("SELECT count(*) FROM webhook_endpoints") == 1
