"""The gates that hold all contacts of a batch. Dispatch holds the batch for the first one that does not pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.batch import Batch
from dialer.domain.calling_span import CallingSpan, next_span_at, span_of
from dialer.domain.gates.codes import Blocked, GateCode
from dialer.domain.hold import CONFIGURATION_AGAIN, Hold
from dialer.domain.states import FINAL_BATCH, BatchStatus
from dialer.domain.window import CallingWindow, next_open_all

# The reason that is stored with a held batch, `held_by`.
HELD_BY = {
    GateCode.EXPIRED: "expired",
    GateCode.NO_NUMBER: "no_outbound_number",
    GateCode.NO_ACTIVE_NUMBER: "no_active_number",
    GateCode.AGENT_NOT_PERMITTED: "agent_not_permitted",
    GateCode.AGENT_FAILING: "agent_failing",
    GateCode.TRUNK_UNHEARD: "trunk_unheard",
    GateCode.BREAKER_OPEN: "trunk_failing",
    GateCode.AGENT_INACTIVE: "agent_inactive",
    GateCode.WINDOW_UNREADABLE: "window_unreadable",
    GateCode.EXCLUDED_DATE: "window",
    GateCode.OUTSIDE_BATCH_HOURS: "window",
    GateCode.WINDOW_NEVER_OPENS: "window_never_opens",
    GateCode.DAILY_CAP: "daily_cap",
}
# A batch that is held for one of these fails.
FINAL = {GateCode.NO_NUMBER, GateCode.WINDOW_NEVER_OPENS}


@dataclass(frozen=True, slots=True)
class StatusChange:
    """The last change of a batch's status. `scheduled_at`: when a scheduled batch starts."""

    at: DateTime | None = None
    by: str | None = None  #: The name of the API key that made it, else the user of the database.
    reason: str | None = None
    scheduled_at: DateTime | None = None


def status_gate(status: BatchStatus, change: StatusChange, now: DateTime) -> Blocked | None:
    """Check that the batch is active, or about to be: tick starts it at its time."""
    facts = {"status": status, "since": change.at, "by": change.by, "reason": change.reason}
    if status in FINAL_BATCH:
        return Blocked(GateCode.BATCH_OVER, facts=facts)
    match status:
        case BatchStatus.DRAFT:
            return Blocked(GateCode.BATCH_DRAFT)
        case BatchStatus.PAUSED:
            return Blocked(GateCode.BATCH_PAUSED, facts=facts)
        case BatchStatus.SCHEDULED if change.scheduled_at and change.scheduled_at > now:
            return Blocked(GateCode.BATCH_SCHEDULED, change.scheduled_at, {"scheduled_at": change.scheduled_at})
    return None


def batch_gates(batch: Batch, numbers: Blocked | None, today: int, now: DateTime) -> Iterator[Blocked | None]:
    """Check an active batch, gate by gate; None: the gate passes.

    `numbers`: why none of its numbers can be used, see `rotation.usable_numbers`. `today`: attempts that count toward
    its daily cap.
    """
    yield expiry(batch.expires_at, now)
    yield numbers
    yield None if batch.agent_is_active else _again(GateCode.AGENT_INACTIVE, now)
    if batch.window is None:
        yield _again(GateCode.WINDOW_UNREADABLE, now)
        return
    if not batch.respect_contact_timezone:
        span = hours([batch.window], batch.window, now, GateCode.OUTSIDE_BATCH_HOURS)
        yield span if isinstance(span, Blocked) else None
    yield daily_cap(batch, batch.window, today, now)


def hold_of(blocked: Blocked) -> Hold:
    """Say how dispatch holds a batch for a gate that does not pass."""
    return Hold(HELD_BY[blocked.code], blocked.again_at or blocked.not_before, is_final=blocked.code in FINAL)


def expiry(expires_at: DateTime | None, now: DateTime) -> Blocked | None:
    """Check that a batch or a contact has not expired."""
    if expires_at is None or expires_at > now:
        return None
    return Blocked(GateCode.EXPIRED, facts={"expires_at": expires_at})


def hours(
    windows: Sequence[CallingWindow], own: CallingWindow, now: DateTime, outside: GateCode
) -> CallingSpan | Blocked:
    """Check that all windows are open, long enough for a call to ring; return the span in which it may start.

    `own`: the window of the batch. `outside`: the code where they are closed, on a date that is not excluded.
    """
    if span := span_of(windows, own, now):
        return span
    opens_at = next_span_at(windows, now)
    if opens_at is None:
        return Blocked(GateCode.WINDOW_NEVER_OPENS, facts={"timezones": _zones(windows)})
    is_excluded = any(window.is_excluded(now) for window in windows)
    return Blocked(GateCode.EXCLUDED_DATE if is_excluded else outside, opens_at, {"timezones": _zones(windows)})


def daily_cap(batch: Batch, window: CallingWindow, today: int, now: DateTime, ahead: int = 0) -> Blocked | None:
    """Check that the daily cap allows another call. `ahead`: contacts that are called before."""
    cap = batch.max_calls_per_day
    if cap is None or today + ahead < cap:
        return None
    facts = {"used": today, "limit": cap, "ahead": ahead}
    _, tomorrow = window.day_span(now)
    if batch.respect_contact_timezone:
        return Blocked(GateCode.DAILY_CAP, tomorrow, facts)
    opens_at = next_open_all([window], tomorrow)
    return Blocked(GateCode.WINDOW_NEVER_OPENS) if opens_at is None else Blocked(GateCode.DAILY_CAP, opens_at, facts)


def _again(code: GateCode, now: DateTime) -> Blocked:
    """Hold until an operator's change, which wakes the batch; look again in case that this is lost."""
    return Blocked(code, again_at=now.add(seconds=CONFIGURATION_AGAIN))


def _zones(windows: Sequence[CallingWindow]) -> list[str]:
    return [window.timezone for window in windows]
