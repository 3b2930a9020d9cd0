"""The command `dialer`. Prints the results of the services; an error is one line on standard error and exit 1.

The modules imported here contain the commands' options and help. What a command needs to run is imported when it is
called, so that `dialer --help` is fast and `dialer db check` loads only what it uses.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from dialer.cli import (
    alive,
    batch,
    batch_drafts,
    batch_export,
    bench,
    calls,
    contacts,
    diagnostics,
    keys,
    person,
    processes,
    quarantine,
    resources,
    run,
    top,
    up,
    workspaces,
)
from dialer.cli.sections import CommandSections
from dialer.errors import DialerError
from dialer.stop_signals import accept_stop_signals

HELP = """Calls a list of people: on time, never outside the hours, never over a limit, nobody rung twice.

\b
  dialer demo                             see it work, on a simulated network
  dialer run contacts.csv --agent demo    call a list of your own
  dialer up                               keep an engine running on this machine,
                                          which every `dialer run` here then uses
"""
SETTINGS = """Settings are environment variables, listed in .env.example. DIALER_DATABASE_URL and DIALER_REDIS_URL are
the servers of a cluster; without them up, run and demo start both on this machine, with data and logs in
DIALER_DATA_DIR (default: .dialer).

batch, contacts, calls, person, agents, numbers, trunks, folders, suppress and webhooks use the HTTP API: the one at
DIALER_URL with the key in DIALER_API_KEY, or that of the `dialer up` on the data folder.

Exit code: 0 success; 1 error, with the reason on standard error; 2 wrong usage; 130 interrupted.

`dialer COMMAND --help` describes each command.
"""

app = typer.Typer(
    cls=CommandSections,
    help=HELP,
    epilog=SETTINGS,
    no_args_is_help=True,
    invoke_without_command=True,
    # Plain text: boxes truncate option names on a narrow terminal, and errors are one line.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    """Options of `dialer` itself."""
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"dialer {version_of('dialer-engine')}")
        raise typer.Exit


app.command(short_help="Call generated contacts on a simulated network and audit.")(run.demo)
app.command(short_help="Call the contacts of a CSV file to the end.")(run.run)
app.command(short_help="Watch batches, calls, trunks and troubles live.")(top.top)
app.command(short_help="Run everything on this machine, until Ctrl-C.")(up.up)
app.command(short_help="In a cluster: answer HTTP requests.")(processes.api)
app.command(short_help="In a cluster: run the steps. Start as many as you like.")(processes.worker)
app.command(short_help="In a cluster: tick. Start two.")(processes.beat)
app.command(short_help="In a cluster: receive the networks' call events.")(processes.listener)
app.command(short_help="In a cluster: check that a process on this machine runs.")(alive.alive)
app.command(short_help="Run a simulated telephone network.")(processes.simulator)
app.command(short_help="Recompute the promises from the ledger.")(diagnostics.audit)
app.command(short_help="Check this installation.")(diagnostics.doctor)
app.command(short_help="Measure Dialer on this machine.")(bench.bench)
app.add_typer(diagnostics.db_group, name="db")
app.add_typer(keys.group, name="keys")
app.add_typer(workspaces.group, name="workspaces")
app.add_typer(quarantine.group, name="quarantine")
for part in (batch_drafts.group, batch_export.group):
    batch.group.add_typer(part)
app.add_typer(batch.group, name="batch")
app.add_typer(contacts.group, name="contacts")
app.add_typer(calls.group, name="calls")
app.add_typer(person.group, name="person")
for name, group in resources.GROUPS.items():
    app.add_typer(group, name=name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command of these arguments, by default those of the process. Always raises SystemExit."""
    accept_stop_signals()
    try:
        app(arguments, prog_name="dialer")
    except DialerError as error:
        typer.echo(f"dialer: {error}", err=True)
        sys.exit(1)
