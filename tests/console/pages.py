"""A workspace with batches in every state, and the pages that show it."""

from typing import Any

from api.conftest import Api
from dialer.service import batch_settings, batches, forecasts, resources, webhook_endpoints
from dialer.service.batch_settings import ChangedSettings
from dialer.service.forecasts import ForecastRequest
from dialer.service.suppressions import SUPPRESSION_TYPE, NewSuppression
from dialer.service.webhook_endpoints import NewWebhookEndpoint
from dialer.store import quarantine


def populate(api: Api, called: int = 80) -> dict[str, str]:
    """Fill the workspace; return the pages by name. `called`: the contacts of a batch that is called to its end."""
    world = api.world
    workspace_id = world.installed.workspace_id
    hours: dict[str, Any] = {
        "timezone": "Europe/Berlin",
        "start_time": "09:00",
        "end_time": "17:30",
    }
    done = world.batch(
        called,
        name="Appointment reminders, March",
        max_concurrent_calls=12,
        retry_failed=True,
        max_retry_attempts=1,
        **hours,
    )
    world.run(lambda: world.is_over(done))
    active = world.batch(called * 3 // 2, name="Spring renewals", max_concurrent_calls=8, max_retry_attempts=2, **hours)
    world.run(world.clock.now.add(seconds=called * 9 // 2))
    night = world.batch(
        90, name="Evening survey, north", timezone="Europe/Berlin", start_time="18:00", end_time="20:00"
    )
    world.batch(40, name="Invoices overdue", scheduled_at=world.clock.now.add(days=1), schedule_type="scheduled")
    paused = world.batch(60, name="Newsletter confirmation", max_concurrent_calls=4)
    world.step()
    batches.pause(world.db, workspace_id, paused)
    draft = world.batch(0, name="Draft without contacts", start=False)
    ready = world.batch(25, name="Draft with contacts", start=False, **hours)
    world.step()
    new = NewSuppression(phone_number="+12025550199", reason="asked not to be called")
    resources.create(world.db, SUPPRESSION_TYPE, workspace_id, new, world.clock.now, world.rng)
    for url, events in (
        ("https://example.com/dialer", ["call.ended"]),
        ("https://crm.example/in", ["batch.completed"]),
    ):
        hook = NewWebhookEndpoint.model_validate({"url": url, "events": events})
        webhook_endpoints.create(world.db, workspace_id, hook, world.clock.now, world.rng)
    world.run(world.clock.now.add(minutes=1))
    world.sql(
        "UPDATE webhook_deliveries SET status = 'dead', finished_at = dialer_now(), error = 'answered 503' "
        "WHERE position % 3 = 0"
    )
    world.sql("UPDATE webhook_health SET failures = 7, failing_since = dialer_now(), last_error = 'answered 503'")
    endpoint_id = world.value("SELECT id FROM webhook_endpoints ORDER BY url DESC LIMIT 1")
    with world.db.begin() as connection:
        quarantine.note(connection, "batch", night, ValueError("time zone"))
    contact_id = world.value(
        "SELECT id FROM contacts WHERE batch_id = :batch AND attempts = 2 ORDER BY position LIMIT 1", batch=done
    )
    # As if a worker ran, which the pages would miss.
    world.leases.is_first("tick", 600)
    waiting_id = world.value("SELECT id FROM contacts WHERE batch_id = :batch ORDER BY position LIMIT 1", batch=night)
    batch_settings.change(
        world.db,
        workspace_id,
        active,
        ChangedSettings(max_concurrent_calls=10, reason="two more people answer"),
        world.clock.now,
    )
    for batch_id in (active, night):
        forecasts.make(world.db, workspace_id, batch_id, ForecastRequest(), world.clock.now, world.rng)
    return {
        "batches": "/console",
        "batch-active": f"/console/batches/{active}",
        "batch-done": f"/console/batches/{done}",
        "batch-waiting": f"/console/batches/{night}",
        "batch-paused": f"/console/batches/{paused}",
        "batch-draft": f"/console/batches/{draft}",
        "batch-ready": f"/console/batches/{ready}",
        "contacts": f"/console/batches/{done}/contacts",
        "calls": f"/console/batches/{done}/calls?kind=made",
        "contact": f"/console/batches/{done}/contacts/{contact_id}",
        "contact-waiting": f"/console/batches/{night}/contacts/{waiting_id}",
        "settings": f"/console/batches/{active}/settings",
        "history": f"/console/batches/{active}/history",
        "new-batch": "/console/batches/new",
        "stop": "/console/all/pause",
        "cancel-all": "/console/all/cancel?search=renewals",
        "webhooks": "/console/system/webhooks",
        "webhook": f"/console/system/webhooks/{endpoint_id}",
        "new-webhook": "/console/system/webhooks/new",
        "system": "/console/system",
        "quarantine": "/console/system/quarantine",
        "agents": "/console/system/agents",
        "numbers": "/console/system/numbers",
        "new-number": "/console/system/numbers/new",
        "trunk": f"/console/system/trunks/{world.installed.trunk_id}",
        "suppressions": "/console/system/suppressions",
        "keys": "/console/system/keys",
        "missing": "/console/nothing",
        "wall": "/console?wall=1",
    }
