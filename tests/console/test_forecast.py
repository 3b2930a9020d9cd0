"""The forecast of a batch on its page: what is kept, and a new one."""

import re

from api.conftest import Api
from console.signed_in_client import client_of
from dialer.domain.roles import Role


def test_a_forecast_is_made_with_what_delays_it_and_kept_for_everybody(api: Api) -> None:
    batch_id = api.world.batch(50, max_concurrent_calls=1, timezone="Europe/Berlin", end_time="18:00")
    path = f"/console/batches/{batch_id}"
    with client_of(api, Role.OPERATOR) as console:
        assert "No forecast was made yet." in console.text(path)
        made = console.post(f"{path}/forecast").text
        # A reload shows the details too.
        assert re.search(r"\d+ min.*, with Calls at once 2", console.text(path))
    assert re.search("About <strong><time[^>]*>Mon 2 Mar 2026 .* CET</time></strong>, and in 8 of 10 cases", made)
    assert "Calls at once of the batch" in made
    assert re.search(r"\d+ min.*, with Calls at once 2", made)
    assert re.search(r"Mon 2 Mar 2026</th><td class=.number.>50<", made)
    assert "no calls yet, so a general assumption" in made
    with client_of(api, Role.VIEWER) as console:
        assert re.search("ends about <time[^>]*>Mon 2 Mar 2026 .* CET", console.text("/console"))
        assert re.search("Ends about <time[^>]*>Mon 2 Mar 2026 .* CET", console.text("/console?wall=1"))
        text = console.text(path)
        assert ("About <strong>" in text, "Forecast now" in text) == (True, False)
        assert console.post(f"{path}/forecast").status_code == 403


def test_why_there_is_no_forecast_is_said_in_its_place(api: Api) -> None:
    batch_id = api.world.batch(0, start=False)
    with client_of(api, Role.OPERATOR) as console:
        answer = console.post(f"/console/batches/{batch_id}/forecast")
    assert (answer.status_code, "No forecast: The batch has no contacts to call." in answer.text) == (422, True)
    assert "Forecast now" in answer.text


def test_a_forecast_of_earlier_settings_says_so(api: Api) -> None:
    batch_id = api.world.batch(3)
    path = f"/console/batches/{batch_id}"
    with client_of(api, Role.OPERATOR) as console:
        console.post(f"{path}/forecast")
        assert "the batch has changed since" not in console.text(path)
        console.post(f"{path}/pause")
        assert "the batch has changed since" in console.text(path)
