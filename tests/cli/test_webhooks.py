"""`dialer webhooks`: endpoints, their messages, replays and secrets."""

import json

from api.conftest import Served
from cli.conftest import Dialer
from support.world import World


def test_endpoints_are_made_listed_changed_and_removed(dialer: Dialer, served: Served, world: World) -> None:
    url = "https://example.com/hook"
    made = json.loads(dialer("webhooks", "create", f"url={url}", 'events=["batch.status_changed"]', "--json").out)
    assert made["secret"].startswith("whsec_")
    world.sql("UPDATE batches SET status = 'active' WHERE id = :id", id=world.batch(1, start=False))
    assert url in dialer("webhooks", "list").out
    (message,) = json.loads(dialer("webhooks", "deliveries", url, "--status", "pending", "--json").out)
    assert (message["type"], message["attempts"]) == ("batch.status_changed", 0)
    world.sql("UPDATE webhook_deliveries SET status = 'dead', finished_at = dialer_now()")
    assert dialer("webhooks", "replay", url).out == "messages: 1\n"
    assert dialer("webhooks", "replay", url, "--since", "2030-01-31T09:00Z").out == "messages: 0\n"
    rotated = json.loads(dialer("webhooks", "rotate-secret", url, "--json").out)
    assert rotated["secret"] != made["secret"]
    assert "secret" not in json.loads(dialer("webhooks", "update", url, "status=inactive", "--json").out)
    assert dialer("webhooks", "delete", made["id"]).code == 0
    assert json.loads(dialer("webhooks", "list", "--json").out) == []


def test_a_wrong_endpoint_is_refused_in_one_line(dialer: Dialer, served: Served) -> None:
    assert "url: must be a URL" in dialer("webhooks", "create", "url=ftp://example.com").refusal
    assert "none is called" in dialer("webhooks", "replay", "https://example.com").refusal
