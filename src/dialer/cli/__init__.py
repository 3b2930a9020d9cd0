"""The command `dialer`. Prints the results of the services; an error is one line on standard error and exit 1.

`sections` says where each command is. The module of a command has its options and help, and imports what it needs to
run when it is called, so that `dialer --help` is fast and `dialer db check` loads only what it uses.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command of these arguments, by default those of the process. Always raises SystemExit."""
    accept_stop_signals()
    # None: it is closed.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    try:
        app(arguments, prog_name="dialer")
    except DialerError as error:
        typer.echo(f"dialer: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        typer.echo(f"dialer: {error}", err=True)
        # What a full disk did not take is still in the buffer, and would fail again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
