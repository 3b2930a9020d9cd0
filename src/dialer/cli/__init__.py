"""The command `dialer`. Prints what the services answer; a refused request is one line on standard error and exit 1.

The modules imported here hold the commands' options and help. What a command needs to do its work is imported when it
is called, so that `dialer --help` answers at once and `dialer db check` loads no more than it uses.
"""

import sys
from collections.abc import Sequence

import typer

from dialer.cli import batch, contacts, diagnostics, processes, resources, run, up
from dialer.cli.keys import keys
from dialer.cli.quarantine import quarantine
from dialer.cli.workspaces import workspaces
from dialer.embedded.processes import accept_stop_signals
from dialer.errors import DialerError

HELP = """Calls a list of people: on time, never outside the hours, never over a limit, nobody rung twice.

\b
  dialer demo                             see it work, on a simulated network
  dialer run contacts.csv --agent demo    call a list of your own
  dialer up                               keep an engine running on this machine,
                                          which every `dialer run` here then uses
"""
SETTINGS = """Settings are environment variables. DIALER_DATABASE_URL and DIALER_REDIS_URL name the servers of a
cluster; without them up, run and demo start both on this machine, and keep their data and logs in DIALER_DATA_DIR,
which is .dialer. All of them are listed in .env.example.

batch, contacts, agents, numbers, trunks, folders and suppress talk to the HTTP API: that of DIALER_URL with the key in
DIALER_API_KEY, or that of the `dialer up` on the data folder.

Exit code: 0 success; 1 refused, or not in order, with the reason on standard error; 2 wrong usage; 130 interrupted.

`dialer COMMAND --help` says more about each command.
"""

app = typer.Typer(
    help=HELP,
    epilog=SETTINGS,
    no_args_is_help=True,
    # Plain text: boxes cut off the names of options on a narrow terminal, and errors are one line.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(short_help="Call a made-up list on a simulated network and audit it.")(run.demo)
app.command(short_help="Call the contacts of a CSV file to the end.")(run.run)
app.command(short_help="Run everything on this machine, until Ctrl-C.")(up.up)
app.command(short_help="In a cluster: answer HTTP requests.")(processes.api)
app.command(short_help="In a cluster: run the steps. Start as many as you like.")(processes.worker)
app.command(short_help="In a cluster: tick. Start two.")(processes.beat)
app.command(short_help="In a cluster: receive the networks' reports.")(processes.listener)
app.command(short_help="Run a simulated telephone network.")(processes.simulator)
app.command(short_help="Recompute the promises from the ledger.")(diagnostics.audit)
app.command(short_help="Say what is wrong with this installation.")(diagnostics.doctor)
app.add_typer(diagnostics.db, name="db")
app.add_typer(keys, name="keys")
app.add_typer(workspaces, name="workspaces")
app.add_typer(quarantine, name="quarantine")
app.add_typer(batch.batch, name="batch")
app.add_typer(contacts.contacts, name="contacts")
for name, group in resources.GROUPS.items():
    app.add_typer(group, name=name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command: that of this process's arguments, unless others are given. Ends with SystemExit."""
    accept_stop_signals()
    try:
        app(arguments, prog_name="dialer")
    except DialerError as error:
        typer.echo(f"dialer: {error}", err=True)
        sys.exit(1)
