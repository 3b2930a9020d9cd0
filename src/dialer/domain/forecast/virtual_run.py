"""One run of a batch on a virtual clock, from now to its end, with rates that are fixed for this run.

Calls of one cohort that start together are drawn together, so that a run of a large batch takes as long as one of a
medium one. Slots are servers of a queue: `chunk` calls occupy one server for their work divided by its share of slots.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from random import Random

from dialer.domain.forecast.chance import multinomial
from dialer.domain.forecast.timetable import OUTCOMES, Timetable, Waiting
from dialer.domain.gates.codes import GateCode
from dialer.domain.outcomes import Outcome

HOUR = 3_600
DAY = 86_400
# Retries that are due within so many draws of each other are called together.
MOMENT = 4
FAILED = OUTCOMES.index(Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class Rates:
    """Outcome shares by local hour of the day, and how long a call of each outcome keeps its slot, in seconds.

    A duration is `least` plus an exponential part with mean `spread`.
    """

    shares: Sequence[Sequence[float]]
    least: Sequence[float]
    spread: Sequence[float]

    @property
    def mean_seconds(self) -> float:
        """How long a call keeps its slot on average, at noon."""
        durations = zip(self.shares[12], self.least, self.spread, strict=True)
        return sum(share * (least + spread) for share, least, spread in durations)


@dataclass(slots=True)
class Course:
    """How a run went. `ends`: in seconds since 1970, inf: not within the horizon.

    `days`: attempts by the beginning of their local day. `hours`: attempts by hour since 1970. `waits`: seconds in
    which a limit alone delayed the next call, by hour and code.
    """

    ends: float = 0.0
    days: Counter[float] = field(default_factory=Counter)
    hours: Counter[int] = field(default_factory=Counter)
    waits: defaultdict[tuple[int, GateCode | None], float] = field(default_factory=lambda: defaultdict(float))
    unreached: Counter[str] = field(default_factory=Counter)


class Entry:
    """Contacts of one group in the queue, alike in attempts and refusals. `since`: when the first of them was due."""

    __slots__ = ("attempts", "count", "group", "refusals", "since")

    def __init__(self, contacts: Waiting, count: int) -> None:
        self.group, self.attempts, self.refusals = contacts.group, contacts.attempts, contacts.refusals
        self.since, self.count = contacts.due, count


@dataclass(frozen=True, slots=True)
class Look:
    """What a run sees when it decides. `code`: the gate that delays the next call until `until`; None: it starts now.

    `group`: of the contacts that are next; None: nobody may be called yet. `today`, `number_day`: attempts that count
    toward the caps, those of an earlier day before the caps are looked at.
    """

    at: float
    until: float
    code: GateCode | None
    group: int | None
    in_progress: int
    today: int
    number_day: int


def run(table: Timetable, rates: Rates, rng: Random, watch: Callable[[Look], None] | None = None) -> Course:
    """Run the batch to its end. `watch`: is given each decision; tests compare it with the gates of dispatch."""
    return _Run(table, rates, rng, watch).to_the_end()


class _Run:
    def __init__(
        self, table: Timetable, rates: Rates, rng: Random, watch: Callable[[Look], None] | None = None
    ) -> None:
        self._watch = watch
        self._table, self._rates, self._rng, self._limits = table, rates, rng, table.limits
        self._course = Course(ends=table.starts, unreached=Counter(table.unreached))
        self._servers = max(1, round(self._limits.slots / table.chunk))
        self._busy = [table.starts] * self._servers
        self._moment = MOMENT * table.chunk * rates.mean_seconds / self._limits.slots
        self._rate_free = table.starts
        self._slot_code = (
            GateCode.BATCH_SLOTS_FULL if self._limits.slots == self._limits.batch_slots else GateCode.TRUNK_SLOTS_FULL
        )
        self._closed_code = (
            GateCode.OUTSIDE_CONTACT_HOURS if table.respects_contact_timezone else GateCode.OUTSIDE_BATCH_HOURS
        )
        self._ready = deque(self._in_order(table.fresh))
        self._held: dict[int, list[Entry]] = {}
        self._opens = inf
        self._due = [(waiting.due, number, waiting) for number, waiting in enumerate(table.later)]
        heapify(self._due)
        self._numbers = len(self._due)
        self._last: dict[tuple[int, int, int], Entry] = {}
        self._day_begins, self._day_ends = table.days.day_at(table.starts)
        self._today = self._limits.calls_today
        self._utc_day, self._number_day = int(table.starts // DAY), self._limits.number_day_used

    def _in_order(self, fresh: Sequence[Waiting]) -> list[Entry]:
        """Put the contacts that may be called now in order; those of several groups are mixed."""
        if len(self._table.groups) <= 1:
            return [Entry(contacts, contacts.count) for contacts in fresh]
        entries = [entry for contacts in fresh for entry in self._chunks(contacts)]
        self._rng.shuffle(entries)
        return entries

    def _chunks(self, contacts: Waiting) -> list[Entry]:
        chunk = self._table.chunk
        return [Entry(contacts, min(chunk, contacts.count - first)) for first in range(0, contacts.count, chunk)]

    def to_the_end(self) -> Course:
        at, ends = self._table.starts, min(self._table.ends, self._table.expires)
        self._go_on_dialing(at)
        while at < ends:
            self._wake(at)
            entry = self._next(at)
            until, code = self._room(at, entry) if entry else self._next_event()
            if until == inf:
                break
            if self._watch:
                self._watch(self._look(at, until, code, entry))
            if entry and code is None:
                self._start(at, entry, self._most(entry))
                continue
            until = min(until, ends)
            self._wait(code, at, until)
            at = until
        self._stop(at)
        return self._course

    def _look(self, at: float, until: float, code: GateCode | None, entry: Entry | None) -> Look:
        in_progress = sum(busy > at for busy in self._busy)
        group = None if entry is None else entry.group
        return Look(at, until, code, group, in_progress, self._today, self._number_day)

    def _go_on_dialing(self, at: float) -> None:
        """Let the calls that are in progress go on; they are within the limits already."""
        for contacts in self._table.dialing:
            for entry in self._chunks(contacts):
                self._start(at, entry, entry.count)

    def _stop(self, at: float) -> None:
        """End what is left: it has expired, its window never opens again, or the run has reached its horizon."""
        queued = [*self._ready, *(entry for held in self._held.values() for entry in held)]
        left = sum(entry.count for entry in queued) + sum(waiting.count for *_, waiting in self._due)
        if left and at >= self._table.expires:
            self._course.unreached[GateCode.EXPIRED] += left
            self._course.ends = max(self._course.ends, at)
        elif left and at >= self._table.ends:
            self._course.ends = inf
        elif left:
            self._course.unreached[GateCode.WINDOW_NEVER_OPENS] += left

    def _wake(self, at: float) -> None:
        """Queue the contacts whose retry is due and those whose window has opened, which were queued before others."""
        chunk = self._table.chunk
        while self._due and self._due[0][0] <= at:
            _, _, waiting = heappop(self._due)
            key = waiting.group, waiting.attempts, waiting.refusals
            last = self._last.get(key)
            # Contacts may pass others in the queue only by moments, since the last in the queue decide the end.
            if last is not None and 0 < last.count < chunk and waiting.due < last.since + self._moment:
                last.count += waiting.count
            else:
                self._last[key] = entry = Entry(waiting, waiting.count)
                self._ready.append(entry)
        if self._opens <= at:
            groups = self._table.groups
            opened = [group for group in self._held if groups[group].hours.next_open(at) <= at]
            for group in opened:
                self._ready.extendleft(reversed(self._held.pop(group)))
            self._opens = min((groups[group].hours.next_open(at) for group in self._held), default=inf)

    def _next(self, at: float) -> Entry | None:
        """Find the next contacts to call; set aside those whose window is closed, end those that have expired."""
        while self._ready:
            entry = self._ready[0]
            group = self._table.groups[entry.group]
            if not entry.count:
                self._ready.popleft()
            elif group.expires_at <= at:
                self._ready.popleft()
                self._course.unreached[GateCode.EXPIRED] += entry.count
                entry.count = 0
                self._course.ends = max(self._course.ends, at)
            elif (opens := group.hours.next_open(at)) > at:
                self._held.setdefault(entry.group, []).append(self._ready.popleft())
                self._opens = min(self._opens, opens)
            else:
                return entry
        return None

    def _next_event(self) -> tuple[float, GateCode | None]:
        """Find what happens next while nobody may be called, and why nobody may."""
        due = self._due[0][0] if self._due else inf
        code = self._closed_code if self._held or self._is_night(due) else GateCode.RETRY_NOT_DUE
        return min(due, self._opens), code

    def _is_night(self, due: float) -> bool:
        """Say whether a retry was moved to the opening of its window."""
        return due < self._table.ends and self._table.groups[self._due[0][2].group].hours.span_at(due)[0] == due

    def _room(self, at: float, entry: Entry) -> tuple[float, GateCode | None]:
        """Find when the next call may start, and which limit decides it. Now or earlier: it may."""
        slot_free, rate_free = self._busy[0], self._rate_free
        if slot_free > at or rate_free > at:
            return (slot_free, self._slot_code) if slot_free >= rate_free else (rate_free, GateCode.TRUNK_RATE)
        limits = self._limits
        if at >= self._day_ends:
            self._day_begins, self._day_ends = self._table.days.day_at(at)
            self._today = 0
        if at >= (self._utc_day + 1) * DAY:
            self._utc_day, self._number_day = int(at // DAY), 0
        if limits.calls_per_day is not None and self._today >= limits.calls_per_day:
            return min(self._day_ends, self._closes(entry, at)), GateCode.DAILY_CAP
        if limits.number_day is not None and self._number_day >= limits.number_day:
            return min((self._utc_day + 1) * DAY, self._closes(entry, at)), GateCode.NUMBER_DAY
        return at, None

    def _closes(self, entry: Entry, at: float) -> float:
        return self._table.groups[entry.group].hours.span_at(at)[1]

    def _start(self, at: float, entry: Entry, count: int) -> None:
        """Start calls to so many contacts of this entry, and draw how they end."""
        entry.count -= count
        self._today += count
        self._number_day += count
        self._course.days[self._day_begins] += count
        self._course.hours[int(at // HOUR)] += count
        shares = self._rates.shares[min(23, int((at - self._day_begins) // HOUR))]
        outcomes = multinomial(self._rng, count, shares)
        work = self._work(outcomes)
        service = work * self._servers / self._limits.slots
        heapreplace(self._busy, at + service)
        self._rate_free = at + count * self._limits.interval_seconds
        ended = at + max(service, work / count)
        self._course.ends = max(self._course.ends, ended)
        self._settle(entry, outcomes, ended)

    def _most(self, entry: Entry) -> int:
        """Say how many calls of this entry are drawn together."""
        limits, count = self._limits, min(entry.count, self._table.chunk)
        if limits.calls_per_day is not None:
            count = min(count, limits.calls_per_day - self._today)
        if limits.number_day is not None:
            count = min(count, limits.number_day - self._number_day)
        return count

    def _work(self, outcomes: Sequence[int]) -> float:
        """Draw how long these calls keep a slot, all together."""
        least = mean = variance = 0.0
        for count, shortest, spread in zip(outcomes, self._rates.least, self._rates.spread, strict=True):
            if count:
                least += count * shortest
                mean += count * spread
                variance += count * spread * spread
        return least + self._rng.gammavariate(mean * mean / variance, variance / mean) if variance else least

    def _settle(self, entry: Entry, outcomes: Sequence[int], ended: float) -> None:
        """Let the contacts of calls that have ended wait for a retry, or count why they were not reached."""
        attempts = entry.attempts + 1
        effects = self._table.effects(attempts, entry.refusals)
        for outcome, count in enumerate(outcomes):
            if not count:
                continue
            effect = effects[outcome]
            if effect.delay_seconds is None:
                if effect.code:
                    self._course.unreached[effect.code] += count
                continue
            spared = outcome == FAILED
            waiting = Waiting(
                self._table.groups[entry.group].hours.next_open(ended + effect.delay_seconds),
                entry.group,
                attempts - spared,
                entry.refusals + spared,
                count,
            )
            self._numbers += 1
            heappush(self._due, (waiting.due, self._numbers, waiting))

    def _wait(self, code: GateCode | None, at: float, until: float) -> None:
        """Note which limit delays the next call."""
        waits = self._course.waits
        while at < until:
            hour = int(at // HOUR)
            end = min(until, (hour + 1.0) * HOUR)
            waits[hour, code] += end - at
            at = end
