"""Shows the progress of a batch until it is over: a live bar on a terminal, else a line now and then."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

from dialer.domain.batch_progress import Progress
from dialer.domain.states import BatchStatus

LINE_SECONDS = 5.0
BAR_WIDTH = 16
# Redis has just been started, and rescue has not loaded its leases yet: a matter of seconds.
STARTING = "leases"
COLOURS = {"active": "green", "completed": "green", "paused": "yellow", "failed": "red", "cancelled": "red"}
RATE_OVER_SECONDS = 30.0
PrintLine = Callable[[str], None]
# Return when the first of the waiting contacts may be called again; None: not known.
FirstRetry = Callable[[], datetime | None]


class CompletionRate:
    """Contacts that became final per second, over the last half minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, at: float, final: int) -> float | None:
        """Add how many contacts are final now; return the rate, None while it is unknown."""
        if not final:
            # While the first calls are on their way, nothing is known of the rate.
            self._samples.clear()
        self._samples.append((at, final))
        while self._samples[-1][0] - self._samples[0][0] > RATE_OVER_SECONDS:
            self._samples.popleft()
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_at - first_at) if last > first else None


def display(readings: Iterator[Progress], console: Console, first_retry: FirstRetry = lambda: None) -> Progress:
    """Show each progress of a batch; return the last."""
    show = _bar if console.is_terminal else _lines
    return show(console, line_printer(console), _described(readings, first_retry))


def line_printer(console: Console) -> PrintLine:
    """Return a function that prints a line above the bar."""
    return lambda line: console.print(line, soft_wrap=True, highlight=False, markup=False)


def _described(readings: Iterator[Progress], first_retry: FirstRetry) -> Iterator[tuple[Progress, str]]:
    rate, retry_at, asked_at = CompletionRate(), None, float("-inf")
    for progress in readings:
        if not _waits(progress):
            retry_at, asked_at = None, float("-inf")
        elif time.monotonic() - asked_at >= LINE_SECONDS:
            retry_at, asked_at = first_retry(), time.monotonic()
        yield progress, current(progress, rate.add(time.monotonic(), _final(progress)), retry_at)


def _waits(progress: Progress) -> bool:
    """Return whether all that is left waits for a retry."""
    return bool(progress.waiting) and not (progress.pending or progress.dialing)


def _bar(console: Console, _: PrintLine, readings: Iterator[tuple[Progress, str]]) -> Progress:
    # One line of fixed parts, so that nothing jumps; what does not fit beside the bar is cut.
    columns = (
        TextColumn("{task.fields[status]:9}", style="bold"),
        BarColumn(BAR_WIDTH),
        TextColumn("{task.fields[final]}", markup=False),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
    )
    with Bar(*columns, console=console, expand=True) as bar:
        task = bar.add_task("", total=None, status="", final="")
        for progress, line in readings:
            final = f"{_final(progress):>{len(f'{progress.total:,}')},}/{progress.total:,}"
            shown = f"[{COLOURS.get(progress.status, 'default')}]{progress.status:9}[/]"
            bar.update(task, total=progress.total, completed=_final(progress), description=line, status=shown,
                       final=final)  # fmt: skip
    return progress


def _lines(_: Console, print_line: PrintLine, readings: Iterator[tuple[Progress, str]]) -> Progress:
    shown_at, status = float("-inf"), None
    for progress, line in readings:
        if progress.status != status or time.monotonic() - shown_at >= LINE_SECONDS:
            shown_at, status = time.monotonic(), progress.status
            ended = f"{progress.completed:,} completed, {progress.failed:,} failed"
            print_line(f"{status}: {_final(progress):,}/{progress.total:,} {ended}, {line}")
    return progress


def current(progress: Progress, rate: float | None, retry_at: datetime | None = None) -> str:
    """Format what goes on now, and what is expected.

    `rate`: contacts per second; None: unknown. `retry_at`: when the first of the waiting contacts is called again.
    """
    parts = [f"{progress.dialing:,} in progress", f"{progress.waiting:,} waiting"]
    if progress.is_finishing:
        parts.append(f"{progress.pending + progress.waiting:,} to be ended without a call")
    match progress.status:
        case BatchStatus.PAUSED:
            parts.append(_drained(progress))
        case BatchStatus.ACTIVE:
            parts += _outlook(progress, rate, retry_at)
    return ", ".join(parts)


def _drained(progress: Progress) -> str:
    if progress.drained_at is None:
        return "no new calls; those in progress finish"
    return f"drained at {progress.drained_at:%Y-%m-%d %H:%M:%S %Z}"


def _outlook(progress: Progress, rate: float | None, retry_at: datetime | None) -> Iterator[str]:
    if _waits(progress):
        # A rate says nothing about the end of those that are not called now.
        yield "all wait for a retry" + (f", the first at {clock_time(retry_at)}" if retry_at else "")
    elif rate is not None:
        left = progress.total - _final(progress)
        yield f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
        yield f"about {duration(left / rate)} left"
    if progress.held_by == STARTING and not progress.dialing:
        yield "the engine is starting"
    elif progress.held_by and not progress.dialing:
        until = f" until {progress.next_dispatch_at:%Y-%m-%d %H:%M:%S %Z}" if progress.next_dispatch_at else ""
        yield f"held by {progress.held_by.replace('_', ' ')}{until}"


def clock_time(at: datetime) -> str:
    """Format a time on this machine's clock, with the date where it is another day's."""
    local = at.astimezone()
    return f"{local:%H:%M}" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d %H:%M}"


def _final(progress: Progress) -> int:
    return progress.completed + progress.failed + progress.skipped + progress.cancelled


def duration(seconds: float) -> str:
    """Format a length of time."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
