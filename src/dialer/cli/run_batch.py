"""Runs a batch from its contact file to its results, for `dialer run` and `dialer demo`.

An error on the way leaves no batch behind. Progress and the row report go to standard error, the results to standard
output.
"""

import io
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import typer
from rich.console import Console

from dialer import wiring
from dialer.cli.contact_file import open_contact_file, row_report, with_progress_bar
from dialer.cli.results import Results
from dialer.cli.signals import interrupt_on_term
from dialer.cli.supervisor import supervised_engine
from dialer.cli.target import Target, load_settings_and_log, running_engine
from dialer.cli.watch import watch
from dialer.domain.change_origin import ChangeOrigin, ChangeSource
from dialer.domain.ids import BatchId, WorkspaceId
from dialer.domain.import_result import ImportResult
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.engine.audit import audit
from dialer.engine.context import EngineContext
from dialer.errors import InvalidInput, UnreadableFile
from dialer.service import agents, batches, contacts, demo_setup
from dialer.service.new_batch import NewBatch

INTERRUPTED = 130
NEXT_STEPS = """
This was simulated: nobody was called. Next:
  dialer up                                  keep an engine running, with its console
  dialer run contacts.csv --agent demo       call a list of your own, simulated too
  docs/providers                             connect Twilio, Asterisk or FreeSWITCH"""
READY_SECONDS = 15
# Area codes whose numbers 555-0100 to 555-0199 are reserved for fiction.
AREAS = (201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 301, 302, 303, 305, 307, 312, 314, 315)


def echo(line: str) -> None:
    """Print a line to standard error."""
    typer.echo(line, err=True)


def run_file(file: Path, agent: str, fields: Mapping[str, Any], data_dir: Path | None, *, as_json: bool) -> bool:
    """Call the contacts of a file; return whether the batch was completed and its audit is clean."""
    interrupt_on_term()
    settings = load_settings_and_log(data_dir)
    with open_contact_file(file) as stream, running_engine(settings, echo) as target:
        return run_batch(target, agent, fields, stream, as_json=as_json)


def run_demo(count: int, speed: float, data_dir: Path | None, *, as_json: bool) -> bool:
    """Call generated contacts on a new engine; return whether the batch was completed and its audit is clean."""
    interrupt_on_term()
    fields = {
        "name": "Demo",
        "max_concurrent_calls": 20,
        "phone_rotation_strategy": RotationStrategy.ROUND_ROBIN,
        "working_days": [1, 2, 3, 4, 5, 6, 7],
        "retry_failed": True,
        "max_retry_attempts": 2,
        # A retry after an hour would outlast the demo, so delays are scaled like the calls.
        "retry_delays": dict.fromkeys(("busy", "no_answer", "failed", "rejected"), 1 / speed),
    }
    echo(f"Simulated: nobody is called. {count:,} made-up contacts are called on a simulated telephone network,")
    echo(f"{speed:g} times as fast as real time. All else is real: Postgres, Redis, a worker, a beat, a listener.")
    with nullcontext(data_dir) if data_dir else _temporary_folder() as folder:
        settings = load_settings_and_log(folder)
        with supervised_engine(settings, workers=1, network={"speed": speed}, echo=echo) as supervisor:
            kept = f"The demo's data is kept in {folder}." if data_dir else "The demo's data is deleted."
            target = Target(supervisor.settings, supervisor.tend, kept)
            is_good = run_batch(target, demo_setup.AGENT, fields, demo_contacts(count), as_json=as_json)
    echo(NEXT_STEPS)
    return is_good


def run_batch(
    target: Target, agent: str, fields: Mapping[str, Any], stream: BinaryIO, *, as_json: bool = False
) -> bool:
    """Call the contacts of a file to the end and print the results."""
    context = wiring.context_of(target.settings, timeouts=wiring.REQUESTS)
    try:
        wiring.check(context)
        origin = ChangeOrigin(ChangeSource.CLI)
        acting = replace(context, db=context.db.attributed_to(origin))
        batch_id, imported = _start(acting, agent, fields, stream)
        try:
            last = watch(context.db, batch_id, target.tend, Console(stderr=True))
        except KeyboardInterrupt:
            echo(f"Interrupted: batch {batch_id} is no longer watched. {target.after_interrupt}")
            raise typer.Exit(INTERRUPTED) from None
        results = Results.read(context.db, last, imported, audit(context.db, wiring.clock(), batch_id))
    finally:
        wiring.close(context)
    typer.echo(results.to_json() if as_json else results.to_text())
    return results.is_good


def _start(
    context: EngineContext, agent: str, fields: Mapping[str, Any], stream: BinaryIO
) -> tuple[BatchId, ImportResult]:
    """Create a batch, import its contacts and schedule it. An error on the way deletes it again."""
    now, rng = wiring.clock(), wiring.chance()
    workspace_id, agent_id = agents.find(context.db, demo_setup.WORKSPACE, agent)
    batch_id = batches.create(context.db, workspace_id, NewBatch.read({**fields, "agent_id": agent_id}, now), now, rng)
    try:
        imported = _import(context, workspace_id, batch_id, stream)
        wait_until_ready(context, batch_id)
        status = batches.schedule(context, workspace_id, batch_id, wiring.clock())
    except KeyboardInterrupt:
        was_draft = batches.discard(context.db, workspace_id, batch_id)
        echo("Interrupted: nothing was started." if was_draft else f"Interrupted: batch {batch_id} was just started.")
        raise typer.Exit(INTERRUPTED) from None
    except BaseException:
        batches.discard(context.db, workspace_id, batch_id)
        raise
    echo(f"Batch {batch_id} is {status}.")
    return batch_id, imported


def _import(context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, stream: BinaryIO) -> ImportResult:
    try:
        with with_progress_bar(stream) as file:
            result = contacts.import_csv(context.db, workspace_id, batch_id, file, wiring.clock(), wiring.chance())
    except OSError as error:
        raise UnreadableFile.of("file", f"cannot be read to its end: {error.strerror}") from None
    echo(row_report(result))
    if not result.imported:
        raise InvalidInput.of("file", "has no contact that can be called; nothing is stored")
    return result


def wait_until_ready(context: EngineContext, batch_id: BatchId) -> None:
    """Wait for a network that is just starting. If it does not become ready, scheduling raises the reason."""
    deadline = time.monotonic() + READY_SECONDS
    while not batches.is_reachable(context, batch_id) and time.monotonic() < deadline:
        time.sleep(0.1)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dialer-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def demo_contacts(count: int) -> BinaryIO:
    """Return a CSV file with `count` contacts, at most 2,000, whose numbers are reserved for fiction."""
    numbers = (f"+1{area}55501{line:02}" for area in AREAS for line in range(100))
    rows = [f"{number},Contact {row}" for row, number in zip(range(1, count + 1), numbers, strict=False)]
    return io.BytesIO("\n".join(["phone,name", *rows]).encode())
