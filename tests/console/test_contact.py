"""One contact: why it is not called, and what an operator can change about it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from api.conftest import Api
from console.signed_in_client import SignedInClient, client_of, flat
from dialer.domain.ids import BatchId
from dialer.domain.roles import Role


@pytest.fixture
def console(api: Api) -> Iterator[SignedInClient]:
    with client_of(api, Role.OPERATOR) as console:
        yield console


def contact_of(api: Api, batch_id: BatchId) -> tuple[Any, str]:
    """Return the first contact of a batch, and its page."""
    contact_id = api.world.value("SELECT id FROM contacts WHERE batch_id = :id ORDER BY position LIMIT 1", id=batch_id)
    return contact_id, f"/console/batches/{batch_id}/contacts/{contact_id}"


def test_a_contact_says_what_is_in_its_way_and_when_it_is_called(api: Api, console: SignedInClient) -> None:
    batch_id = api.world.batch(2, timezone="Europe/Berlin", start_time="18:00", end_time="20:00")
    _, path = contact_of(api, batch_id)
    text = console.text(path)
    assert "It is not called yet" in text
    assert "The calling window of the batch is closed: opens 18:00 Europe/Berlin" in text
    assert re.search("The next call starts .*18:00 CET</time> .the batch&#39;s zone", text)
    assert text.index("<code>contact_done</code>") < text.index("<code>trunk_rate</code>")


def test_a_contact_that_waits_for_the_trunk_says_who_has_its_calls(api: Api, console: SignedInClient) -> None:
    world = api.world
    world.sql("UPDATE trunks SET max_concurrent_calls = 2")
    busy = world.batch(2, name="Busy <b>")
    world.step()
    _, path = contact_of(api, world.batch(2))
    assert f'<a href="/console/batches/{busy}">Busy &lt;b&gt;</a> (2 calls)' in console.text(path)


def test_a_callback_is_asked_for_in_the_zone_of_the_batch(api: Api, console: SignedInClient) -> None:
    world = api.world
    batch_id = world.batch(2, timezone="Europe/Berlin", start_time="09:00", end_time="18:00")
    contact_id, path = contact_of(api, batch_id)
    at = world.clock.now.add(days=1).format("YYYY-MM-DD")
    assert console.post(path, {"action": "callback", "at": f"{at}T11:30"}).status_code == 303
    assert re.search("Waits until</dt><dd>.*11:30 CET</time>, for a callback", console.text(path))
    refused = console.post(path, {"action": "callback", "at": f"{at}T23:30"})
    assert (refused.status_code, "lies outside the calling window" in refused.text) == (422, True)
    assert f'value="{at}T23:30"' in refused.text
    assert world.value("SELECT waits_for FROM contacts WHERE id = :id", id=contact_id) == "callback"


def test_only_what_was_changed_is_saved_and_an_empty_field_is_cleared(api: Api, console: SignedInClient) -> None:
    world = api.world
    batch_id = world.batch(1, start=False)
    contact_id, path = contact_of(api, batch_id)
    later = world.clock.now.add(days=2)
    world.sql(
        "UPDATE contacts SET name = 'Ada', not_before = :at WHERE id = :id", at=later.add(seconds=7), id=contact_id
    )
    typed = later.format("YYYY-MM-DDTHH:mm")
    fields = {"action": "change", "name": "", "priority": "2", "timezone": "Asia/Tokyo", "not_before": typed}
    assert console.post(path, fields).status_code == 303
    stored = "concat_ws('|', coalesce(name, ''), priority, timezone)"
    assert world.value(f"SELECT {stored} FROM contacts WHERE id = :id", id=contact_id) == "|2|Asia/Tokyo"
    not_before = world.value("SELECT not_before FROM contacts WHERE id = :id", id=contact_id)
    assert not_before == later.add(seconds=7)


def test_a_wrong_field_is_named_and_what_was_typed_stays(api: Api, console: SignedInClient) -> None:
    _, path = contact_of(api, api.world.batch(1, start=False))
    answer = console.post(path, {"action": "change", "name": "Ada", "priority": "5", "timezone": "Mars/Olympus"})
    assert answer.status_code == 422
    assert "timezone" in flat(answer.text).partition("Nothing was changed:")[2][:100]
    assert 'value="Mars/Olympus"' in answer.text


def test_a_contact_is_taken_out_of_a_batch(api: Api, console: SignedInClient) -> None:
    world = api.world
    running, draft = world.batch(3), world.batch(3, start=False)
    _, path = contact_of(api, running)
    assert console.post(path, {"action": "remove"}).headers["Location"] == path
    assert "cancelled</span> removed" in console.text(path)
    assert "Take out of the batch" not in console.text(path)
    again = console.post(path, {"action": "remove"})
    assert (again.status_code, "The contact is cancelled, which is final" in again.text) == (422, True)
    _, path = contact_of(api, draft)
    assert console.post(path, {"action": "remove"}).headers["Location"] == f"/console/batches/{draft}/contacts"
    assert world.value("SELECT count(*) FROM contacts WHERE batch_id = :id", id=draft) == 2


def test_a_viewer_sees_the_contact_without_its_forms_and_is_refused(api: Api) -> None:
    batch_id = api.world.batch(2)
    _, path = contact_of(api, batch_id)
    with client_of(api, Role.VIEWER) as console:
        text = console.text(path)
        assert ("It would be called now" in text, "Call back then" in text) == (True, False)
        assert [console.post(path, {"action": action}).status_code for action in ("callback", "change", "remove")] == [
            403
        ] * 3


def test_the_timeline_names_each_phase_and_the_time_between_calls(api: Api, console: SignedInClient) -> None:
    world = api.world
    batch_id = world.batch(6, retry_failed=True, max_retry_attempts=1)
    world.run(lambda: world.is_over(batch_id))
    contact_id = world.value("SELECT id FROM contacts WHERE batch_id = :id AND attempts = 2 LIMIT 1", id=batch_id)
    text = console.text(f"/console/batches/{batch_id}/contacts/{contact_id}")
    assert re.search(r"rang \d+\.\d s", text)
    assert re.search(r"\d+ (min|h|s).* after the end of the call before", text)
    assert "It is done, and is not called again" in text
