"""`dialer top`: a live view of what the API says. `q` or Ctrl-C ends it."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dialer.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from dialer.cli.client import Client

STARTED = ("active", "paused", "scheduled")
MOST = 100
BATCHES = ("id", "name", "status", "calls.in_progress=calls", "max_concurrent_calls=limit", "counts.final=done",
           "counts.total", "counts.waiting", "held_by=held by")  # fmt: skip
TRUNKS = ("name=trunk", "provider", "status", "calls_per_second=per_second", "max_concurrent_calls=at_once")
FINAL = ("completed", "failed", "skipped", "cancelled")


def top(
    once: Annotated[bool, typer.Option("--once", help="Print it once, as in a pipe.")] = False,
    seconds: Annotated[float, typer.Option(help="Read again after so many seconds.", min=0.5, max=3600)] = 2,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Watch the batches that have started, their calls, the trunks and what is wrong. q or Ctrl-C ends it."""
    from dialer.cli.client import connected
    from dialer.cli.tables import terminal_width

    with connected(data_dir) as client:
        if as_json:
            typer.echo(json.dumps(_read(client)))
        elif once or not (sys.stdout.isatty() and sys.stdin.isatty()):
            typer.echo("\n".join(_lines(_read(client), terminal_width(), None)))
        else:
            with suppress(KeyboardInterrupt):
                _watch(client, seconds)


def _read(client: "Client") -> dict[str, Any]:
    """Read the batches that have started, and the trunks and agents with what is wrong with them."""
    batches = [batch for status in STARTED for batch in client.first_page("/batch-calls", MOST, status=status)]
    for batch in batches:
        batch["counts"]["final"] = sum(batch["counts"][status] for status in FINAL)
    trunks = client.first_page("/trunks", MOST, if_allowed=True)
    troubles = [f"trunk {trunk['name']}: {reason}" for trunk in trunks
                if (reason := trunk["failing_reason"] or trunk["unheard_reason"])]  # fmt: skip
    agents = [agent for agent in client.first_page("/agents", MOST) if agent["status"] == "active"]
    troubles += [f"agent {agent['name']}: {'; '.join(agent['not_ready_reasons'])}" for agent in agents
                 if not agent["ready"]]  # fmt: skip
    return {"batches": batches, "trunks": trunks, "troubles": troubles}


def _watch(client: "Client", seconds: float) -> None:
    """Show it until `q` is pressed."""
    import shutil

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    before: tuple[float, dict[str, int]] | None = None
    with _single_keys(), Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            state, at = _read(client), time.monotonic()
            attempts = {batch["id"]: int(batch["calls"]["attempts"]) for batch in state["batches"]}
            rate = None if before is None else _rate(*before, at, attempts)
            before = at, attempts
            size = shutil.get_terminal_size()
            shown = list(_lines(state, size.columns, rate))[: size.lines - 1]
            live.update(Text.from_ansi("\n".join([*shown, ""]), no_wrap=True), refresh=True)
            if _is_quit_within(seconds):
                return


def _rate(was_at: float, was: Mapping[str, int], at: float, now: Mapping[str, int]) -> float:
    """Return the calls per second between two looks at the batches."""
    return sum(max(0, count - was.get(batch_id, count)) for batch_id, count in now.items()) / (at - was_at)


def _lines(state: Mapping[str, Any], width: int | None, rate: float | None) -> Iterator[str]:
    from dialer.cli.tables import table_lines

    batches, trunks = state["batches"], state["trunks"]
    in_progress = sum(batch["calls"]["in_progress"] for batch in batches)
    limit = sum(batch["max_concurrent_calls"] for batch in batches if batch["status"] == "active")
    active = sum(batch["status"] == "active" for batch in batches)
    per_second = "" if rate is None else f", {rate:.1f} calls/s"
    plural = "" if active == 1 else "es"
    yield f"{active:,} active batch{plural}, {in_progress:,} calls in progress of {limit:,}{per_second}"
    yield ""
    yield from table_lines(batches, BATCHES, width) if batches else ["No batch has started"]
    if trunks:
        yield ""
        yield from table_lines(trunks, TRUNKS, width)
    yield ""
    yield from (f"! {trouble}" for trouble in state["troubles"])
    if not state["troubles"]:
        yield "Nothing is wrong with trunks and agents; `dialer doctor` checks the installation"


@contextmanager
def _single_keys() -> Iterator[None]:
    """Read keys without Enter, and do not show them."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _is_quit_within(seconds: float) -> bool:
    import select

    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and os.read(sys.stdin.fileno(), 1) in (b"q", b"Q", b"")
