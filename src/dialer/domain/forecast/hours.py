"""When the contacts of a lane may be called: the open spans of its windows, in seconds since 1970."""

from bisect import bisect_right
from collections.abc import Sequence
from math import inf

from pendulum import DateTime, from_timestamp

from dialer.domain.timeouts import RING_LEAD_SECONDS
from dialer.domain.window import CallingWindow, next_open_all


class Hours:
    """The spans in which calls may start, in order, computed as far as they are asked for and kept for all runs."""

    def __init__(self, windows: Sequence[CallingWindow], since: DateTime) -> None:
        self._windows = windows
        self._opens: list[float] = []
        self._closes: list[float] = []
        # Without windows: a zone that this system does not know, whose contacts are not called.
        self._known_until: DateTime | None = since if windows else None

    def span_at(self, at: float) -> tuple[float, float]:
        """Find the first span that is not over `at`: when it opens and closes. (inf, inf): there is none."""
        while not (self._closes and self._closes[-1] > at):
            if not self._extend():
                return inf, inf
        index = bisect_right(self._closes, at)
        return self._opens[index], self._closes[index]

    def next_open(self, at: float) -> float:
        """Find the least instant from `at` on at which a call may start; inf: never."""
        return max(at, self.span_at(at)[0])

    def _extend(self) -> bool:
        """Find one more span; False: there is none."""
        opens = self._known_until and next_open_all(self._windows, self._known_until)
        if opens is None:
            self._known_until = None
            return False
        ends = [closes for window in self._windows if (closes := window.closes_at(opens)) is not None]
        self._known_until = min(ends, default=None)
        until = inf if self._known_until is None else self._known_until.timestamp() - RING_LEAD_SECONDS
        if until > opens.timestamp():
            self._opens.append(opens.timestamp())
            self._closes.append(until)
        return True


class Days:
    """The local calendar days of a batch, for its daily cap."""

    def __init__(self, window: CallingWindow) -> None:
        self._window = window
        self._ends: list[float] = []
        self._starts: list[float] = []

    def day_at(self, at: float) -> tuple[float, float]:
        """Find when the day began that `at` falls on, and when it ends."""
        if not self._ends:
            self._add(at)
        while self._ends[-1] <= at:
            self._add(self._ends[-1])
        index = bisect_right(self._ends, at)
        return self._starts[index], self._ends[index]

    def _add(self, at: float) -> None:
        begin, end = self._window.day_span(from_timestamp(at))
        self._starts.append(begin.timestamp())
        self._ends.append(end.timestamp())
