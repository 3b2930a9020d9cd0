"""Shows the progress of a batch until it is over: a live bar on a terminal, else a line now and then."""

import time
from collections import deque
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

from dialer.domain.batch_progress import Progress
from dialer.domain.states import BatchStatus

LINE_SECONDS = 5.0
RATE_OVER_SECONDS = 30.0
PrintLine = Callable[[str], None]


class CompletionRate:
    """Contacts that became final per second, over the last half minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, at: float, final: int) -> float | None:
        """Add how many contacts are final now; return the rate, None while it is unknown."""
        self._samples.append((at, final))
        while self._samples[-1][0] - self._samples[0][0] > RATE_OVER_SECONDS:
            self._samples.popleft()
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_at - first_at) if last > first else None


def display(readings: Iterator[Progress], console: Console) -> Progress:
    """Show each progress of a batch; return the last."""
    show = _bar if console.is_terminal else _lines
    return show(console, line_printer(console), _described(readings))


def line_printer(console: Console) -> PrintLine:
    """Return a function that prints a line above the bar."""
    return lambda line: console.print(line, soft_wrap=True, highlight=False, markup=False)


def _described(readings: Iterator[Progress]) -> Iterator[tuple[Progress, str]]:
    rate = CompletionRate()
    for progress in readings:
        yield progress, describe(progress, rate.add(time.monotonic(), _final(progress)))


def _bar(console: Console, _: PrintLine, readings: Iterator[tuple[Progress, str]]) -> Progress:
    columns = (
        TextColumn("{task.fields[status]:9}"),
        BarColumn(),
        MofNCompleteColumn(),
        # Wrapped, not truncated, where it does not fit beside the bar.
        TextColumn("{task.description}", markup=False, table_column=Column()),
    )
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("", total=None, status="")
        for progress, line in readings:
            bar.update(task, total=progress.total, completed=_final(progress), description=line, status=progress.status)
    return progress


def _lines(_: Console, print_line: PrintLine, readings: Iterator[tuple[Progress, str]]) -> Progress:
    shown_at, status = float("-inf"), None
    for progress, line in readings:
        if progress.status != status or time.monotonic() - shown_at >= LINE_SECONDS:
            shown_at, status = time.monotonic(), progress.status
            print_line(f"{status}: {_final(progress):,}/{progress.total:,} {line}")
    return progress


def describe(progress: Progress, rate: float | None) -> str:
    """Format the progress as one line. `rate`: contacts per second; None: unknown."""
    parts = [
        f"{progress.completed:,} completed",
        f"{progress.failed:,} failed",
        f"{progress.dialing:,} in progress",
        f"{progress.waiting:,} waiting",
    ]
    if progress.is_finishing:
        parts.append(f"{progress.pending + progress.waiting:,} to be ended without a call")
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
        yield f"about {duration(left / rate)} left"
    if progress.held_by and not progress.dialing:
        until = f" until {progress.next_dispatch_at:%Y-%m-%d %H:%M:%S %Z}" if progress.next_dispatch_at else ""
        yield f"held by {progress.held_by.replace('_', ' ')}{until}"


def _final(progress: Progress) -> int:
    return progress.completed + progress.failed + progress.skipped + progress.cancelled


def duration(seconds: float) -> str:
    """Format a length of time."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
