"""Each number on a page is the length of the list that it links to, and calls are listed by what the figures count."""

import html
import re

from api.conftest import Api
from console.signed_in_client import SignedInClient, client_of, flat
from dialer.domain.roles import Role
from dialer.service import batches, resources
from dialer.service.suppressions import SUPPRESSION_TYPE, NewSuppression
from support.engine_steps import dispatch_and_place, end_call, live_attempts
from support.world import World

LINK = re.compile(r'<a href="([^"]+/(?:contacts|calls)[^"]*)"[^>]*>(?:<strong>)?([\d,]+)(?:</strong>)?[^%<]*</a>')
OUTCOMES = ("answered", "machine", "busy", "no_answer", "answered")
ROW = re.compile(r'<th scope="row"')


def numbers(console: SignedInClient, path: str) -> dict[str, int]:
    """Return the numbers of a page that are links, by the lists that they lead to."""
    links = LINK.findall(console.text(path))
    return {html.unescape(address): int(number.replace(",", "")) for address, number in links}


def length(console: SignedInClient, address: str) -> int:
    """Return how many rows a list has, read to its end."""
    text = console.text(address)
    following = re.search(r'<a href="([^"]+)">(?:Next page|Older)</a>', text)
    rest = length(console, address.partition("?")[0] + html.unescape(following[1])) if following else 0
    return len(ROW.findall(text)) + rest


def populate(world: World) -> list[str]:
    """Make a batch in the midst of its calls, a paused one, one that is not dispatched yet, and a draft."""
    busy = world.batch(24, max_concurrent_calls=8, retry_failed=True, max_retry_attempts=1)
    dispatch_and_place(world, busy)
    for attempt_id, outcome in zip(live_attempts(world), OUTCOMES, strict=False):
        end_call(world, attempt_id, outcome)
    dispatch_and_place(world, busy)
    # One that the network has not taken.
    world.sql("UPDATE attempts SET state = 'refused', outcome = NULL WHERE outcome = 'busy'")
    world.sql("UPDATE batch_days SET attempts = attempts - 1 WHERE batch_id = :id", id=busy)
    paused = world.batch(20, max_concurrent_calls=2)
    world.dispatch([paused])
    batches.pause(world.db, world.installed.workspace_id, paused)
    fresh, draft = world.batch(12, max_concurrent_calls=5), world.batch(7, start=False)
    number = world.value("SELECT phone_number FROM contacts WHERE batch_id = :id ORDER BY position LIMIT 1", id=draft)
    new = NewSuppression(phone_number=number)
    resources.create(world.db, SUPPRESSION_TYPE, world.installed.workspace_id, new, world.clock.now, world.rng)
    paths = [f"/console/batches/{batch_id}" for batch_id in (busy, paused, fresh, draft)]
    return [*paths, f"{paths[-1]}/preview", "/console"]


def test_each_number_is_the_length_of_the_list_behind_it(api: Api) -> None:
    world = api.world
    paths = populate(world)
    with client_of(api, Role.VIEWER) as console:
        shown = {path: numbers(console, path) for path in paths}
        wrong = {
            address: (number, rows)
            for of_page in shown.values()
            for address, number in of_page.items()
            if (number or "reason=" in address) and (rows := length(console, address)) != number
        }
        assert wrong == {}
    addresses = [address for of_page in shown.values() for address in of_page]
    for part in (
        "reason=none",
        "reason=suppressed",
        "reason=batch_slots_full",
        "kind=refused",
        "kind=picked_up&from_number",
        "today=1",
    ):
        assert any(part in address for address in addresses), part
    assert shown[paths[2]][f"{paths[2]}/contacts?reason=none"] == 5


def test_calls_that_no_figure_counts_are_no_page(api: Api) -> None:
    batch_id = api.world.batch(1)
    path = f"/console/batches/{batch_id}/calls"
    with client_of(api, Role.VIEWER) as console:
        assert "No call was made yet" in console.text(path)
        for query in ("kind=all", "from_number=nobody", "since=soon"):
            assert console.get(f"{path}?{query}").status_code == 422, query
        assert "No call matches" in flat(console.get(path, since="2026-03-02T00:00:00+00:00", kind="busy").text)
