"""Calls a list from its file to its results, as `dialer run` and `dialer demo` do.

What is refused on the way leaves no batch behind. Progress and the row report go to standard error, the results to
standard output.
"""

import io
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import rich.progress
import typer
from rich.console import Console

from dialer import wiring
from dialer.cli.progress import watch
from dialer.cli.results import Results, row_report
from dialer.cli.signals import interrupt_on_term
from dialer.cli.supervisor import machine
from dialer.cli.target import Installation, configured, installation
from dialer.domain.ids import BatchId, WorkspaceId
from dialer.domain.rotation import RotationStrategy
from dialer.engine.audit import audit
from dialer.engine.context import EngineContext
from dialer.errors import InvalidInput, UnreadableFile
from dialer.service import agents, batches, contacts, demo_setup
from dialer.service.contacts import ImportReport
from dialer.service.new_batch import NewBatch

INTERRUPTED = 130
READY_SECONDS = 15
# Area codes whose numbers 555-0100 to 555-0199 are set aside for fiction.
AREAS = (201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 301, 302, 303, 305, 307, 312, 314, 315)

tell = partial(typer.echo, err=True)


def call_file(file: Path, agent: str, fields: Mapping[str, Any], data_dir: Path | None, *, as_json: bool) -> bool:
    """Call the contacts of a file; say whether the batch was completed and its audit is clean."""
    interrupt_on_term()
    settings = configured(data_dir)
    with opened_file(file) as stream, installation(settings, tell) as there:
        return call(there, agent, fields, stream, as_json=as_json)


def call_demo(count: int, speed: float, data_dir: Path | None, *, as_json: bool) -> bool:
    """Call a made-up list on an engine of its own; say whether the batch was completed and its audit is clean."""
    interrupt_on_term()
    fields = {
        "name": "Demo",
        "max_concurrent_calls": 20,
        "phone_rotation_strategy": RotationStrategy.ROUND_ROBIN,
        "working_days": [1, 2, 3, 4, 5, 6, 7],
        "retry_failed": True,
        "max_retry_attempts": 2,
        # A retry that comes an hour later would outlast any demo, so the delays shrink as the calls do.
        "retry_delays": dict.fromkeys(("busy", "no_answer", "failed", "rejected"), 1 / speed),
    }
    with nullcontext(data_dir) if data_dir else _temporary_folder() as folder:
        settings = configured(folder)
        with machine(settings, workers=1, network={"speed": speed}, tell=tell) as running:
            afterwards = f"The rest of the demo is kept in {folder}." if data_dir else "Nothing of the demo is kept."
            there = Installation(running.settings, running.tend, afterwards)
            return call(there, demo_setup.AGENT, fields, made_up_list(count), as_json=as_json)


def call(
    there: Installation, agent: str, fields: Mapping[str, Any], stream: BinaryIO, *, as_json: bool = False
) -> bool:
    """Call a list to its end and show what came of it."""
    context = wiring.context_of(there.settings, timeouts=wiring.REQUESTS)
    try:
        wiring.check(context)
        batch_id, loaded = _start(context, agent, fields, stream)
        try:
            last = watch(context.db, batch_id, there.tend, Console(stderr=True))
        except KeyboardInterrupt:
            tell(f"Interrupted: batch {batch_id} is no longer watched. {there.afterwards}")
            raise typer.Exit(INTERRUPTED) from None
        results = Results.read(context.db, last, loaded, audit(context.db, wiring.clock(), batch_id))
    finally:
        wiring.close(context)
    typer.echo(results.to_json() if as_json else results.to_text())
    return results.is_good


def _start(
    context: EngineContext, agent: str, fields: Mapping[str, Any], stream: BinaryIO
) -> tuple[BatchId, ImportReport]:
    """Create, load and schedule; whatever is refused on the way leaves nothing behind."""
    now, rng = wiring.clock(), wiring.chance()
    workspace_id, agent_id = agents.find(context.db, demo_setup.WORKSPACE, agent)
    batch_id = batches.create(context.db, workspace_id, NewBatch.read({**fields, "agent_id": agent_id}, now), now, rng)
    try:
        loaded = _load(context, workspace_id, batch_id, stream)
        wait_until_ready(context, batch_id)
        status = batches.schedule(context, workspace_id, batch_id, wiring.clock())
    except KeyboardInterrupt:
        was_draft = batches.discard(context.db, workspace_id, batch_id)
        tell("Interrupted: nothing was started." if was_draft else f"Interrupted: batch {batch_id} was just started.")
        raise typer.Exit(INTERRUPTED) from None
    except BaseException:
        batches.discard(context.db, workspace_id, batch_id)
        raise
    tell(f"Batch {batch_id} is {status}.")
    return batch_id, loaded


def _load(context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, stream: BinaryIO) -> ImportReport:
    try:
        with shown(stream) as read:
            loaded = contacts.import_csv(context.db, workspace_id, batch_id, read, wiring.clock(), wiring.chance())
    except OSError as error:
        raise UnreadableFile.of("file", f"cannot be read to its end: {error.strerror}") from None
    tell(row_report(loaded))
    if not loaded.imported:
        raise InvalidInput.of("file", "has no contact that can be called; nothing is stored")
    return loaded


def shown(stream: BinaryIO) -> AbstractContextManager[BinaryIO]:
    """Show on a terminal how far a file is read."""
    console = Console(stderr=True)
    if not (console.is_terminal and stream.seekable()):
        return nullcontext(stream)
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return rich.progress.wrap_file(stream, size, description="Loading", console=console, transient=True)


def wait_until_ready(context: EngineContext, batch_id: BatchId) -> None:
    """Give a network that is just starting the time to answer; scheduling says what is wrong if it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while not batches.is_reachable(context, batch_id) and time.monotonic() < deadline:
        time.sleep(0.1)


def opened_file(file: Path) -> AbstractContextManager[BinaryIO]:
    """Open a file of contacts; -: standard input."""
    if str(file) == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except OSError as error:
        raise UnreadableFile.of("file", f"{file} cannot be read: {error.strerror}") from None


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dialer-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def made_up_list(count: int) -> BinaryIO:
    """A CSV file of so many contacts whose numbers are set aside for fiction; 2,000 at most."""
    numbers = (f"+1{area}55501{line:02}" for area in AREAS for line in range(100))
    rows = [f"{number},Contact {row}" for row, number in zip(range(1, count + 1), numbers, strict=False)]
    return io.BytesIO("\n".join(["phone,name", *rows]).encode())
