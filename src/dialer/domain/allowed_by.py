"""What is written with each attempt: all limits in force when it was granted, so that the audit can recompute P2 and P3
from the ledger alone, whatever the settings have become since.
"""

import json
from typing import Any

from dialer.domain.batch import Batch
from dialer.domain.slots import SlotGrant
from dialer.domain.window import CallingWindow


def allowed_by(batch: Batch, window: CallingWindow, grant: SlotGrant) -> str:
    """Return the limits as JSON text."""
    return json.dumps(_window(window, grant) | _batch_limits(batch) | _number_limits(grant))


def _window(window: CallingWindow, grant: SlotGrant) -> dict[str, Any]:
    return {
        "timezones": list(grant.turn.lane.zones) or [window.timezone],
        "day_timezone": window.timezone,
        "start_time": window.start_time and f"{window.start_time:%H:%M}",
        "end_time": window.end_time and f"{window.end_time:%H:%M}",
        "working_days": sorted(window.working_days),
        "excluded_dates": [day.isoformat() for day in window.excluded_around(grant.leaves_at)],
    } | ({"calling_hours": window.calling_hours.written()} if window.calling_hours else {})


def _batch_limits(batch: Batch) -> dict[str, Any]:
    return {
        "version": batch.version,
        # Workers of releases before 0007 wrote neither this nor when a request was permitted to leave.
        "needs_permit": True,
        "strategy": batch.strategy,
        "max_concurrent_calls": batch.max_concurrent_calls,
        "max_calls_per_day": batch.max_calls_per_day,
        "max_attempts": 1 + (batch.retry.max_attempts if batch.retry.enabled else 0),
    }


def _number_limits(grant: SlotGrant) -> dict[str, Any]:
    number, rate = grant.number, grant.route.rate
    return {
        "number_max_concurrent_calls": number.max_concurrent_calls,
        "number_max_calls_per_day": number.max_calls_per_day,
        "trunk_max_concurrent_calls": number.trunk_max_concurrent_calls,
        "trunk_rate_limit": rate and rate.limit,
        "trunk_rate_window_ms": rate and rate.window_ms,
    }
