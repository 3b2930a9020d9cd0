"""Before a batch is started: what becomes of its contacts, and whether it is ready; then start it now or later."""

import re

from api.conftest import Api
from console.signed_in_client import client_of
from dialer.domain.roles import Role
from dialer.service import resources
from dialer.service.suppressions import SUPPRESSION_TYPE, NewSuppression


def test_a_draft_says_how_many_will_be_called_and_how_many_never(api: Api) -> None:
    world = api.world
    hours = {"timezone": "Europe/Berlin", "start_time": "18:00", "end_time": "20:00"}
    batch_id = world.batch(["+12025550101", "+12025550102", "+12025550103"], start=False, **hours)
    new = NewSuppression(phone_number="+12025550102", reason="asked")
    resources.create(world.db, SUPPRESSION_TYPE, world.installed.workspace_id, new, world.clock.now, world.rng)
    with client_of(api, Role.VIEWER) as console:
        text = console.text(f"/console/batches/{batch_id}/preview")
    plain = re.sub("<[^>]*>", "", text)
    assert "Of 3: 2 will be called, 1 never (1 suppressed), 0 cannot finish before they expire." in plain
    assert re.search("The first call would start Mon 2 Mar 2026 18:00 CET", plain)
    assert "It can be started now" in plain


def test_each_thing_that_is_missing_is_named_with_the_page_that_helps(api: Api) -> None:
    world = api.world
    batch_id = world.batch(0, start=False)
    world.sql("UPDATE phone_numbers SET status = 'inactive'")
    with client_of(api, Role.OPERATOR) as console:
        text = console.text(f"/console/batches/{batch_id}/preview")
    assert '<span class="status bad">Contacts</span> The batch has no contacts to call.' in text
    assert re.search(
        "Outbound numbers</span> The batch has no active outbound number. <a href=./console/system/num", text
    )
    assert "checked when there is a number" in text
    assert "It cannot be started yet" in text


def test_a_draft_is_started_now_or_later(api: Api) -> None:
    world = api.world
    later, now = world.batch(1, start=False, timezone="Europe/Berlin"), world.batch(1, start=False)
    at = world.clock.now.add(days=1).format("YYYY-MM-DD")
    with client_of(api, Role.OPERATOR) as console:
        console.post(f"/console/batches/{later}/start", {"when": "later", "at": f"{at}T10:30"})
        assert re.search(r"starts .*10:30 CET", console.text(f"/console/batches/{later}"))
        assert console.text(f"/console/batches/{later}/preview") == ""
        refused = console.post(f"/console/batches/{now}/start", {"when": "later", "at": "soon"})
        assert (refused.status_code, f'"/console/batches/{now}">Back to the batch' in refused.text) == (422, True)
        console.post(f"/console/batches/{now}/start", {"when": "now"})
    assert (world.progress(later).status, world.progress(now).status) == ("scheduled", "active")
