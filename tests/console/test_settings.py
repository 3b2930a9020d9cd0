"""The settings of a batch that runs: what a change would do, the change, its history, and undo."""

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest

from api.conftest import Api
from console.signed_in_client import SignedInClient, client_of
from dialer.console.settings_form import form_of, settings_of
from dialer.domain.ids import BatchId
from dialer.domain.roles import Role
from dialer.service import batch_settings, batch_views
from dialer.service.batch_settings import ChangedSettings


@pytest.fixture
def console(api: Api) -> Iterator[SignedInClient]:
    with client_of(api, Role.OPERATOR) as console:
        yield console


def view(api: Api, batch_id: BatchId) -> dict[str, Any]:
    return batch_views.show(api.world.db, api.world.installed.workspace_id, batch_id, api.world.clock.now)


def typed(api: Api, batch_id: BatchId, **changed: Any) -> dict[str, Any]:
    """Return what the browser sends when these fields of the form were changed."""
    form = form_of(view(api, batch_id))
    return {**form.fields, "before": json.dumps(settings_of(form)), **changed}


def hidden(html: str) -> dict[str, str]:
    """Return the fields of the form that applies what was shown."""
    fields = {name: re.search(f'name="{name}" value="([^"]*)"', html) for name in ("changes", "if_match")}
    return {name: unescape(match[1]) for name, match in fields.items() if match}


def test_a_change_is_shown_with_its_impact_then_applied_and_undone(api: Api, console: SignedInClient) -> None:
    world = api.world
    batch_id = world.batch(6, max_concurrent_calls=2, start_time="08:00", end_time="18:00")
    world.step()
    path = f"/console/batches/{batch_id}/settings"
    shown = console.post(path, typed(api, batch_id, max_concurrent_calls="1", start_time="12:00", reason="lunch")).text
    assert "<strong>4 contacts</strong> cannot be called any more, or lose their retry" in shown
    assert "Calls in progress all go on; a new one starts when fewer are in progress than the new limit" in shown
    assert re.search("Calls start at</th><td>08:00</td><td><strong>12:00</strong>", shown)
    assert view(api, batch_id)["max_concurrent_calls"] == 2
    applied = console.post(path, {**hidden(shown), "reason": "<i>lunch</i>"})
    assert (applied.status_code, applied.headers["Location"]) == (303, f"/console/batches/{batch_id}")
    assert view(api, batch_id)["max_concurrent_calls"] == 1
    history = console.text(f"/console/batches/{batch_id}/history")
    assert "Calls at once: 2 → <strong>1</strong>" in history
    assert '<td>key <span class="quiet">(console)</span></td><td>&lt;i&gt;lunch&lt;/i&gt;</td>' in history
    undone = console.post(f"{path}/undo", {"if_match": re.findall('name="if_match" value="([^"]*)"', history)[0]})
    assert undone.status_code == 303
    assert view(api, batch_id)["max_concurrent_calls"] == 2


def test_the_history_of_a_batch_that_nobody_has_changed_offers_no_undo(api: Api, console: SignedInClient) -> None:
    history = console.text(f"/console/batches/{api.world.batch(1)}/history")
    assert ("as it was created" in history, "Undo" in history) == (True, False)


def test_an_undo_of_what_somebody_else_has_changed_meanwhile_is_refused(api: Api, console: SignedInClient) -> None:
    world = api.world
    batch_id = world.batch(2, priority=5)
    old = batch_settings.token(batch_id, view(api, batch_id)["version"])
    for priority in (4, 3):
        changed = ChangedSettings(priority=priority)
        batch_settings.change(world.db, world.installed.workspace_id, batch_id, changed, world.clock.now)
    refused = console.post(f"/console/batches/{batch_id}/settings/undo", {"if_match": old})
    assert (refused.status_code, "so nothing was undone" in refused.text) == (422, True)
    assert "Priority: 4 → <strong>3</strong>" in refused.text
    assert view(api, batch_id)["priority"] == 3


def test_a_stale_page_says_so_and_shows_the_new_impact(api: Api, console: SignedInClient) -> None:
    world = api.world
    batch_id = world.batch(3, max_concurrent_calls=2, priority=5)
    path = f"/console/batches/{batch_id}/settings"
    first = hidden(console.post(path, typed(api, batch_id, max_concurrent_calls="7")).text)
    other = ChangedSettings(max_concurrent_calls=4, priority=1)
    batch_settings.change(world.db, world.installed.workspace_id, batch_id, other, world.clock.now)
    refused = console.post(path, first)
    assert (refused.status_code, "Somebody has changed this batch since" in refused.text) == (422, True)
    assert re.search("Calls at once</th><td>4</td><td><strong>7</strong>", refused.text)
    assert view(api, batch_id)["max_concurrent_calls"] == 4
    assert console.post(path, hidden(refused.text)).status_code == 303
    assert (view(api, batch_id)["max_concurrent_calls"], view(api, batch_id)["priority"]) == (7, 1)


def test_an_old_form_does_not_change_back_what_somebody_else_has_changed(api: Api, console: SignedInClient) -> None:
    world = api.world
    batch_id = world.batch(3, max_concurrent_calls=2)
    old = typed(api, batch_id, priority="3")
    other = ChangedSettings(max_concurrent_calls=9)
    batch_settings.change(world.db, world.installed.workspace_id, batch_id, other, world.clock.now)
    shown = console.post(f"/console/batches/{batch_id}/settings", old).text
    assert json.loads(hidden(shown)["changes"]) == {"priority": "3"}


SETTINGS: list[dict[str, Any]] = [
    {},
    {"start_time": "22:00", "end_time": "02:00", "working_days": [6, 7], "excluded_dates": ["2026-12-24"]},
    {"calling_hours": {"1": [["09:00", "12:00"], ["13:00", "24:00"]], "5": [["20:00", "02:00"]]}},
    {"holidays": {"country": "DE", "region": "BY"}, "timezone": "Europe/Berlin"},
    {"retry_failed": True, "max_retry_attempts": 3, "retry_machine": True, "retry_delays": {"busy": 0.5}},
    {"expires_at": "2026-04-01T10:00:07Z", "timezone": "Asia/Tokyo", "max_calls_per_day": 5, "max_call_seconds": 60},
    {"person_limits": [{"attempts": 3, "hours": 24}, {"attempts": 7, "hours": 168}]},
]


def test_a_form_that_was_not_touched_changes_nothing(api: Api, console: SignedInClient) -> None:
    for settings in SETTINGS:
        batch_id = api.world.batch(1, start=False, **settings)
        answer = console.post(f"/console/batches/{batch_id}/settings", typed(api, batch_id))
        assert "there is nothing to change" in answer.text, settings
        shown = settings_of(form_of(view(api, batch_id)))
        # A form has no seconds, so only a time that is typed anew is sent.
        del shown["expires_at"]
        stored = (api.world.db, api.world.installed.workspace_id, batch_id)
        changed = ChangedSettings.read(shown, api.world.clock.now)
        assert batch_settings.plan(*stored, changed, api.world.clock.now).changes == {}, settings


def test_wrong_fields_are_named_and_what_was_typed_stays(api: Api, console: SignedInClient) -> None:
    batch_id = api.world.batch(2)
    fields = typed(api, batch_id, max_concurrent_calls="1000", hours_1="09:00-12:00, 11:00-13:00", hours_2="nine")
    fields["person_limits"] = "3/24, 7"
    answer = console.post(f"/console/batches/{batch_id}/settings", fields)
    assert answer.status_code == 422
    assert 'id="wrong-max_concurrent_calls"' in answer.text
    assert 'id="wrong-calling_hours"' in answer.text
    assert 'id="wrong-person_limits">hours is required<' in answer.text
    assert 'value="09:00-12:00, 11:00-13:00"' in answer.text
    assert 'value="1000"' in answer.text


def test_a_form_that_this_page_has_not_sent_is_refused(api: Api, console: SignedInClient) -> None:
    batch_id = api.world.batch(2)
    path = f"/console/batches/{batch_id}/settings"
    for text in ("", "[]", "{", "[" * 20_000):
        for fields in (typed(api, batch_id, before=text), {"changes": text or "x", "if_match": "x"}):
            answer = console.post(path, fields)
            assert (answer.status_code, "is not what this page has sent" in answer.text) == (422, True), text[:9]


def test_a_batch_that_is_over_keeps_its_settings(api: Api, console: SignedInClient) -> None:
    world = api.world
    batch_id = world.batch(1)
    world.run(lambda: world.is_over(batch_id))
    fields = typed(api, batch_id, priority="1")
    assert "its settings stay as they are" in console.text(f"/console/batches/{batch_id}/settings")
    assert console.post(f"/console/batches/{batch_id}/settings", fields).status_code == 422
    assert "Undo" not in console.text(f"/console/batches/{batch_id}/history")


def test_a_viewer_reads_the_history_and_changes_nothing(api: Api) -> None:
    batch_id = api.world.batch(2)
    with client_of(api, Role.VIEWER) as console:
        assert "as it was created" in console.text(f"/console/batches/{batch_id}/history")
        assert "Change the settings" not in console.text(f"/console/batches/{batch_id}")
        assert console.get(f"/console/batches/{batch_id}/settings").status_code == 403
        for path in ("settings", "settings/undo"):
            assert console.post(f"/console/batches/{batch_id}/{path}", typed(api, batch_id)).status_code == 403


def test_the_week_is_drawn_as_it_is_typed(api: Api, console: SignedInClient) -> None:
    fields = {"timezone": "Europe/Berlin", "hours_1": "08:00-12:00, 13:00 to 15:00", "hours_2": "22:00-02:00"}
    text = console.post("/console/batches/week", fields).text
    assert "Mon 08:00 to 12:00, 13:00 to 15:00; Tue 22:00 to 24:00; Wed 00:00 to 02:00; Thu closed" in text
    assert re.search("Open now; closes .*12:00 CET.*, and opens again .*13:00 CET", text)
    fields |= {"timezone": "Mars/Olympus", "hours_3": "noon"}
    wrong = console.post("/console/batches/week", fields).text
    assert "time zone must be" in wrong.replace("timezone", "time zone")
    assert "day 3" in wrong
