"""Commands that check the installation: migrations, the audit, and `doctor`."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dialer.cli.options import AsJson, DataDir
from dialer.errors import DialerError

if TYPE_CHECKING:
    from dialer.engine.context import EngineContext
    from dialer.store.database import Database

SHOWN_TRUNKS = 50

db_group = typer.Typer(no_args_is_help=True)


@db_group.command()
def upgrade(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Bring the schema to what this version of Dialer needs. Safe to run twice."""
    from dialer.store import server_checks

    with open_database(data_dir) as database:
        server_checks.upgrade(database)
        _print_migration(database, "The database is at migration {}.", as_json=as_json)


@db_group.command()
def check(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check whether this version of Dialer works on the schema; exit 1 if not."""
    from dialer.store import server_checks

    with open_database(data_dir) as database:
        server_checks.check_database(database)
        _print_migration(database, "The database is at migration {}, as it should be.", as_json=as_json)


def audit(
    batch: Annotated[str | None, typer.Argument(help="One batch, by id or name.  [default: all batches]")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Recompute the promises from the ledger; exit 1 if any is broken."""
    from dialer import wiring
    from dialer.cli.audits import audit_report
    from dialer.engine.audit import audit as recompute
    from dialer.service import batch_names
    from dialer.store import server_checks

    with open_database(data_dir) as database:
        server_checks.check_database(database)
        report = recompute(database, wiring.clock(), batch_names.find(database, batch) if batch else None)
    typer.echo(report.to_json() if as_json else audit_report(report))
    if not report.is_clean:
        raise typer.Exit(1)


def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check this installation and print what is wrong; exit 1 if anything is.

    Checks Postgres and its schema, Redis, every active trunk, overdue work, and the clocks.
    """
    from dialer import wiring
    from dialer.cli.target import load_settings, with_local_servers

    context = wiring.context_of(with_local_servers(load_settings(data_dir)))
    try:
        troubles = _server_troubles(context) or _troubles(context)
    finally:
        wiring.close(context)
    all_fine = "Postgres, its schema, Redis and every active trunk are fine; nothing is overdue."
    typer.echo(json.dumps({"troubles": troubles}) if as_json else "\n".join(troubles) or all_fine)
    if troubles:
        raise typer.Exit(1)


def _server_troubles(context: "EngineContext") -> list[str]:
    """Return why Postgres or Redis cannot be used; everything else is checked only if both can."""
    from dialer.store import server_checks

    checks = (lambda: server_checks.check_database(context.db), lambda: server_checks.check_leases(context.leases))
    return [reason for check in checks if (reason := _failure(check))]


def _failure(check: Callable[[], None]) -> str | None:
    try:
        check()
    except DialerError as error:
        return str(error)
    return None


def _troubles(context: "EngineContext") -> list[str]:
    from dialer import wiring
    from dialer.service import engine_state
    from dialer.store import health

    troubles = engine_state.troubles(context, wiring.clock())
    with context.db.begin() as connection:
        trunks = health.active_trunks(connection)
    reasons = context.providers.health_all([trunk for _, trunk in trunks])
    failing = [(name, reason) for (name, _), reason in zip(trunks, reasons, strict=True) if reason]
    troubles += [f"Trunk {name} cannot place calls: {reason}" for name, reason in failing[:SHOWN_TRUNKS]]
    if len(failing) > SHOWN_TRUNKS:
        troubles.append(f"{len(failing) - SHOWN_TRUNKS} more trunks cannot place calls; see `dialer trunks check`")
    return troubles


@contextmanager
def open_database(data_dir: Path | None) -> Iterator["Database"]:
    """Open the database of the settings, or of the `dialer up` on the data folder."""
    from dialer import wiring
    from dialer.cli.target import load_settings, with_local_servers

    database = wiring.database_of(with_local_servers(load_settings(data_dir)))
    try:
        yield database
    finally:
        database.close()


def _print_migration(database: "Database", sentence: str, *, as_json: bool) -> None:
    migration = database.revision()
    typer.echo(json.dumps({"migration": migration}) if as_json else sentence.format(migration))
