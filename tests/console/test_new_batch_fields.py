"""The form of a new batch: every setting of the API, or the reason in the documents why it is not there."""

import re
from pathlib import Path

from api.conftest import Api
from console.signed_in_client import client_of
from dialer.domain.roles import Role
from dialer.service import batch_views
from dialer.service.new_batch import NewBatch

DOCUMENT = Path(__file__).parents[2] / "docs" / "console.md"
# Field of the form -> what is typed, and setting of the batch -> what is stored.
TYPED = {
    "name": "Spring", "timezone": "Europe/Berlin", "scheduled_at": "2026-03-09T10:00", "hours_1": "09:00-12:00",
    "excluded_dates": "2026-12-24", "holidays_country": "de", "phone_rotation_strategy": "sequential",
    "max_concurrent_calls": "3", "max_calls_per_day": "40", "ring_timeout_seconds": "20", "max_call_seconds": "60",
    "max_retry_attempts": "2", "delay_busy": "5", "retry_machine": "yes", "respect_contact_timezone": "yes",
    "sticky_caller_id": "yes", "expires_at": "2026-04-01T10:00", "priority": "2", "default_region": "DE",
    "labels": "spring , renewals,", "person_limits": "3/24", "start_time": "", "end_time": "",
}  # fmt: skip
STORED = {
    "schedule_type": "scheduled", "calling_hours": {"1": [["09:00", "12:00"]]}, "max_concurrent_calls": 3,
    "holidays": {"country": "DE", "region": None}, "retry_failed": True, "retry_delays": {"busy": 5},
    "respect_contact_timezone": True, "sticky_caller_id": True, "labels": ["spring", "renewals"],
    "person_limits": [{"attempts": 3, "hours": 24}], "working_days": [1, 2],
}  # fmt: skip


def test_the_form_of_a_new_batch_has_every_setting_of_the_api(api: Api) -> None:
    world = api.world
    chosen = {"agent_id": str(world.installed.agent_id), "phone_number_ids": str(world.installed.number_ids[0])}
    with client_of(api, Role.OPERATOR) as console:
        form = console.text("/console/batches/new")
        made = console.post("/console/batches/new", {**TYPED, **chosen, "working_days": ["1", "2"]})
        assert made.status_code == 303, made.text
        page = console.text(made.headers["Location"])
    batch = batch_views.show(
        world.db, world.installed.workspace_id, world.value("SELECT id FROM batches"), world.clock.now
    )
    assert {name: batch[name] for name in STORED} == STORED
    names = set(re.findall('name="([a-z_0-9]+)"', form))
    assert names > {*TYPED, *chosen, "working_days"}
    parts = {"calling_hours": "hours_1", "holidays": "holidays_country", "retry_delays": "delay_busy"}
    shown = {setting for setting in NewBatch.model_fields if parts.get(setting, setting) in names}
    document = DOCUMENT.read_text("utf-8")
    others = set(NewBatch.model_fields) - shown
    assert others == {"contact_source", "contact_folder_id", "metadata", "schedule_type", "retry_failed"}
    assert [name for name in sorted(others) if f"`{name}`" not in document] == []
    assert re.search('<a href="/console.label=spring">spring</a>, <a', page)
