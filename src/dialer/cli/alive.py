"""`dialer alive`: the probe of process managers. It starts in a fraction of a second and asks no server."""

import json
import os
from enum import StrEnum
from typing import Annotated

import typer

from dialer.cli.options import AsJson
from dialer.errors import Unavailable
from dialer.heartbeat import FAILED_SECONDS, KINDS, pulses, run_folder

Kind = StrEnum("Kind", KINDS)  # type: ignore[misc]  # the choices of the argument


def alive(
    kind: Annotated[Kind | None, typer.Argument(help="The kind of process.  [default: all kinds]")] = None,
    ready: Annotated[bool, typer.Option("--ready", help="Check also whether Postgres and Redis answer it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the heartbeats of the processes on this machine, or in this container; exit 1 if one has failed.

    A process is alive while its main loop runs: also if it has nothing to do, or Postgres or Redis is away. It is ready
    if it is alive and both answer it.
    """
    import time

    # The same clock as in the processes, dialer.clock.seconds.
    found = pulses(run_folder(os.environ.get("DIALER_RUN_DIR")), kind, time.perf_counter())
    if not found:
        raise Unavailable(f"No {kind or 'process of Dialer'} runs here, or it has only just been started")
    for pulse in found:
        if pulse.has_failed:
            raise Unavailable(
                f"The main loop of {pulse.kind} {pulse.pid} has not run for {pulse.seconds_ago:.0f} s "
                f"(limit: {FAILED_SECONDS:.0f} s): restart it"
            )
        if ready and pulse.not_ready:
            raise Unavailable(f"{pulse.kind} {pulse.pid} is not ready: {pulse.not_ready}")
    if as_json:
        typer.echo(
            json.dumps([{"kind": pulse.kind, "pid": pulse.pid, "seconds_ago": pulse.seconds_ago} for pulse in found])
        )
        return
    for pulse in found:
        typer.echo(f"{pulse.kind} {pulse.pid} is alive: its main loop ran {pulse.seconds_ago:.1f} s ago")
