"""A batch on the terminal: live progress until it is over. Where there is no terminal, a plain line now and then."""

import time
from collections import deque
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

from dialer.domain.ids import BatchId
from dialer.domain.states import FINAL_BATCH, BatchStatus
from dialer.errors import Unavailable
from dialer.service import batches as service
from dialer.store.database import Database
from dialer.store.progress import Progress

REFRESH_SECONDS = 0.5
LINE_SECONDS = 5.0
RATE_OVER_SECONDS = 30.0
# Longer than a Postgres takes to restart. The calls do not depend on who watches them.
OUTAGE_SECONDS = 60.0

Tell = Callable[[str], None]


class Pace:
    """Contacts that became final per second, over the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, at: float, final: int) -> float | None:
        """Note how many are final at this moment; return the rate, None while it is not known."""
        self._seen.append((at, final))
        while self._seen[-1][0] - self._seen[0][0] > RATE_OVER_SECONDS:
            self._seen.popleft()
        (first_at, first), (last_at, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_at - first_at) if last > first else None


def watch(db: Database, batch_id: BatchId, tend: Callable[[], None], console: Console) -> Progress:
    """Show a batch until it is over and its last call has ended; return where it ended.

    `tend` is called all the while. Raises Unavailable when Postgres does not answer for a minute.
    """
    return display(_readings(db, batch_id, tend, _teller(console)), console)


def display(readings: Iterator[Progress], console: Console) -> Progress:
    """Show where a batch stands as often as it is read; return where it ended."""
    show = _bar if console.is_terminal else _lines
    return show(console, _teller(console), _described(readings))


def _teller(console: Console) -> Tell:
    return lambda line: console.print(line, soft_wrap=True, highlight=False, markup=False)


def _described(readings: Iterator[Progress]) -> Iterator[tuple[Progress, str]]:
    pace = Pace()
    for progress in readings:
        yield progress, describe(progress, pace.note(time.monotonic(), _final(progress)))


def _readings(db: Database, batch_id: BatchId, tend: Callable[[], None], tell: Tell) -> Iterator[Progress]:
    while True:
        progress = _read(db, batch_id, tend, tell)
        yield progress
        if progress.status in FINAL_BATCH and not progress.dialing:
            return
        time.sleep(REFRESH_SECONDS)


def _read(db: Database, batch_id: BatchId, tend: Callable[[], None], tell: Tell) -> Progress:
    """Read where the batch stands; where Postgres does not answer, try again for a while."""
    give_up_at: float | None = None
    while True:
        tend()
        try:
            return service.progress(db, batch_id)
        except Unavailable as error:
            if give_up_at is None:
                give_up_at = time.monotonic() + OUTAGE_SECONDS
                tell(f"{error}; trying again for {_duration(OUTAGE_SECONDS)}")
            elif time.monotonic() > give_up_at:
                raise
        time.sleep(REFRESH_SECONDS)


def _bar(console: Console, _: Tell, readings: Iterator[tuple[Progress, str]]) -> Progress:
    columns = (
        TextColumn("{task.fields[status]:9}"),
        BarColumn(),
        MofNCompleteColumn(),
        # What does not fit beside the bar is wrapped, not cut off.
        TextColumn("{task.description}", markup=False, table_column=Column()),
    )
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("", total=None, status="")
        for progress, line in readings:
            bar.update(task, total=progress.total, completed=_final(progress), description=line, status=progress.status)
    return progress


def _lines(_: Console, tell: Tell, readings: Iterator[tuple[Progress, str]]) -> Progress:
    shown_at, status = float("-inf"), None
    for progress, line in readings:
        if progress.status != status or time.monotonic() - shown_at >= LINE_SECONDS:
            shown_at, status = time.monotonic(), progress.status
            tell(f"{status}: {_final(progress):,}/{progress.total:,} {line}")
    return progress


def describe(progress: Progress, rate: float | None) -> str:
    """Say in one line where a batch stands. `rate`: contacts per second, None where it is not known."""
    parts = [
        f"{progress.completed:,} completed",
        f"{progress.failed:,} failed",
        f"{progress.dialing:,} in progress",
        f"{progress.waiting:,} waiting",
    ]
    match progress.status:
        case BatchStatus.PAUSED:
            parts.append(_drained(progress))
        case BatchStatus.ACTIVE:
            parts += _outlook(progress, rate)
    return ", ".join(parts)


def _drained(progress: Progress) -> str:
    if progress.drained_at is None:
        return "no new calls; those in progress finish"
    return f"drained at {progress.drained_at:%Y-%m-%d %H:%M:%S %Z}"


def _outlook(progress: Progress, rate: float | None) -> Iterator[str]:
    if rate is not None:
        left = progress.total - _final(progress)
        yield f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
        yield f"about {_duration(left / rate)} left"
    if progress.held_by and not progress.dialing:
        until = f" until {progress.next_dispatch_at:%Y-%m-%d %H:%M:%S %Z}" if progress.next_dispatch_at else ""
        yield f"held by {progress.held_by.replace('_', ' ')}{until}"


def _final(progress: Progress) -> int:
    return progress.completed + progress.failed + progress.skipped + progress.cancelled


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
