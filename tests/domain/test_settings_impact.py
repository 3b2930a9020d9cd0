"""Who gains and who loses by a change of settings."""

from dataclasses import replace
from datetime import time
from typing import Any
from uuid import UUID

import pendulum
import pytest

from dialer.domain.batch import Batch
from dialer.domain.lane import NO_LANE, Lane
from dialer.domain.retry import RetryRules
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.domain.settings_impact import CallingRoom, OpenContacts, SettingsImpact, impact
from dialer.domain.states import BatchStatus
from dialer.domain.window import CallingWindow

NOW = pendulum.datetime(2026, 3, 2, 8)
ID: Any = UUID(int=1)
BATCH = Batch(
    id=ID, workspace_id=ID, name="x", agent_id=ID, status=BatchStatus.ACTIVE, version=1,
    strategy=RotationStrategy.RANDOM, window=CallingWindow("UTC", time(9)), retry=RetryRules(), max_concurrent_calls=1,
    max_calls_per_day=None, respect_contact_timezone=False, sticky_caller_id=False, expires_at=None, priority=5,
    agent_is_active=True, connection={}, pending=1, waiting=0, dialing=0,
)  # fmt: skip
OPEN = replace(BATCH, window=CallingWindow("UTC"))
RETRIES = replace(OPEN, retry=RetryRules(enabled=True, max_attempts=1))
FRESH = OpenContacts(NO_LANE, 0, False, True, True, False, 3)
RETRIED = replace(FRESH, attempts=1)
WAITING = replace(RETRIED, is_due=False, becomes_due=False, moves=True)
NOTHING = SettingsImpact(0, 0, 0)


@pytest.mark.parametrize(
    ("before", "after", "contacts", "expected"),
    [
        (BATCH, OPEN, FRESH, SettingsImpact(3, 0, 0)),
        (OPEN, BATCH, FRESH, SettingsImpact(0, 3, 0)),
        (OPEN, OPEN, FRESH, NOTHING),
        (BATCH, OPEN, RETRIED, NOTHING),
        (BATCH, RETRIES, replace(RETRIED, is_machine=True), NOTHING),
        (BATCH, RETRIES, RETRIED, SettingsImpact(3, 0, 0)),
        (RETRIES, OPEN, WAITING, SettingsImpact(0, 3, 0)),
        (RETRIES, RETRIES, WAITING, SettingsImpact(0, 0, 3)),
        (RETRIES, RETRIES, replace(WAITING, becomes_due=True), SettingsImpact(3, 0, 3)),
        (OPEN, replace(OPEN, expires_at=NOW), FRESH, SettingsImpact(0, 3, 0)),
        (BATCH, OPEN, replace(FRESH, lane=Lane(("UTC",))), SettingsImpact(3, 0, 0)),
        (BATCH, OPEN, replace(FRESH, lane=Lane(("Moon/Sea",))), NOTHING),
        (replace(OPEN, window=None), OPEN, FRESH, SettingsImpact(3, 0, 0)),
    ],
)
def test_contacts_gain_lose_or_are_moved(
    before: Batch, after: Batch, contacts: OpenContacts, expected: SettingsImpact
) -> None:
    assert impact(CallingRoom(before, True), CallingRoom(after, True), [contacts], NOW) == expected


def test_without_room_nobody_can_be_called() -> None:
    full, free = CallingRoom(OPEN, False), CallingRoom(OPEN, True)
    assert impact(full, free, [FRESH, RETRIED], NOW) == SettingsImpact(3, 0, 0)
    assert impact(free, full, [FRESH], NOW) == SettingsImpact(0, 3, 0)
    assert impact(full, full, [FRESH], NOW) == NOTHING
