"""How long a slot that is granted now may be used: inside the calling windows, its days, and 20 seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pendulum import UTC, DateTime

from dialer.domain.timeouts import GRANT_SECONDS, RING_LEAD_SECONDS
from dialer.domain.window import CallingWindow, next_open_all


@dataclass(frozen=True, slots=True)
class CallingSpan:
    """When a call may start: while the ledger's clock is in [valid_from, valid_until). `ring_by`: the window's end."""

    valid_from: DateTime
    valid_until: DateTime
    ring_by: DateTime | None


def span_of(windows: Sequence[CallingWindow], own: CallingWindow, now: DateTime) -> CallingSpan | None:
    """Find the time in which a call that is granted now may start; None: it may not.

    All windows must be open. The span ends RING_LEAD_SECONDS before one of them closes, so that the call rings inside
    (P3); at the end of the local day of `own` (the batch's window) and of the UTC day, whose caps the call counts to
    (P2); and after GRANT_SECONDS.
    """
    return _span_of(tuple(windows), own, now)


# A dispatch asks for the same span for its batch and for the lanes of its contacts.
@lru_cache(maxsize=1_024)
def _span_of(windows: tuple[CallingWindow, ...], own: CallingWindow, now: DateTime) -> CallingSpan | None:
    if not all(window.is_open(now) for window in windows):
        return None
    opened, closes = zip(*(window.open_span(now) for window in windows), strict=True)
    closing = min((at for at in closes if at is not None), default=None)
    day_begin, day_end = own.day_span(now)
    utc_begin = now.in_timezone(UTC).start_of("day")
    valid_from = max(*opened, day_begin, utc_begin)
    ends = [day_end, utc_begin.add(days=1), now.add(seconds=GRANT_SECONDS)]
    if closing is not None:
        ends.append(closing.subtract(seconds=RING_LEAD_SECONDS))
    return CallingSpan(valid_from, min(ends), closing) if now < min(ends) else None


def next_span_at(windows: Sequence[CallingWindow], now: DateTime) -> DateTime | None:
    """Find when windows that allow no call now allow one again; None: never.

    Just before their end they are open, but it is too late for a call to ring inside.
    """
    opens_at = next_open_all(windows, now)
    if opens_at != now:
        return opens_at
    closes = [at for window in windows if (at := window.closes_at(now)) is not None]
    return next_open_all(windows, min(closes)) if closes else now
