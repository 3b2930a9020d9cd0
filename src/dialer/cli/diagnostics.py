"""Commands that look and report: migrations, the audit, and what is wrong with this installation."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from dialer.cli.options import AsJson, DataDir
from dialer.errors import DialerError

if TYPE_CHECKING:
    from dialer.engine.context import EngineContext
    from dialer.store.database import Database

SHOWN_TRUNKS = 50

db = typer.Typer(help="The migrations of the database: upgrade, check.", no_args_is_help=True)


@db.command()
def upgrade(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Bring the schema to what this version of Dialer needs. Safe to run twice."""
    from dialer.store import health

    with opened(data_dir) as database:
        health.upgrade(database)
    _say_migration("The database is at migration {}.", as_json=as_json)


@db.command()
def check(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say whether the schema is what this version of Dialer needs; exit 1 if not."""
    from dialer.store import health

    with opened(data_dir) as database:
        health.check_database(database)
    _say_migration("The database is at migration {}, as it should be.", as_json=as_json)


def audit(
    batch: Annotated[UUID | None, typer.Argument(help="The batch, by id; left out: all of them.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Recompute the promises from the ledger; exit 1 if any is broken."""
    from dialer import wiring
    from dialer.cli.results import audit_report
    from dialer.domain.ids import BatchId
    from dialer.engine.audit import audit as recompute
    from dialer.store import health

    with opened(data_dir) as database:
        health.check_database(database)
        report = recompute(database, wiring.clock(), BatchId(batch) if batch else None)
    typer.echo(report.to_json() if as_json else audit_report(report))
    if not report.is_clean:
        raise typer.Exit(1)


def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say what is wrong with this installation, in plain words; exit 1 if anything is.

    Looks at Postgres and its schema, at Redis, at every active trunk, at what is overdue, and at the clocks.
    """
    from dialer import wiring
    from dialer.cli.target import configured, located

    context = wiring.context_of(located(configured(data_dir)))
    try:
        troubles = _unfit(context) or _troubles(context)
    finally:
        wiring.close(context)
    fine = "Postgres, its schema, Redis and every active trunk are fine; nothing is overdue."
    typer.echo(json.dumps({"troubles": troubles}) if as_json else "\n".join(troubles) or fine)
    if troubles:
        raise typer.Exit(1)


def _unfit(context: "EngineContext") -> list[str]:
    """Say which servers cannot be used; the rest can only be looked at when there are none of these."""
    from dialer.store import health

    looks = (partial(health.check_database, context.db), partial(health.check_leases, context.leases))
    return [f"{reason.rstrip('.')}." for reason in map(_refusal, looks) if reason]


def _refusal(look: Callable[[], None]) -> str | None:
    try:
        look()
    except DialerError as error:
        return str(error)
    return None


def _troubles(context: "EngineContext") -> list[str]:
    from dialer import wiring
    from dialer.store import health

    now = wiring.clock()
    with context.db.begin() as connection:
        found = health.troubles(connection, now)
        trunks = health.active_trunks(connection)
        found += health.redis_troubles(connection, context.leases)
        if not health.leases_are_loaded(connection, context.leases):
            found.append(
                "Redis does not know the leases, or knows them from before it was restarted: no calls start until a "
                "worker's rescue has rebuilt them."
            )
    reasons = context.providers.health_all([trunk for _, trunk in trunks])
    failing = [(name, reason) for (name, _), reason in zip(trunks, reasons, strict=True) if reason]
    found += [f"Trunk {name} cannot place calls: {reason.rstrip('.')}." for name, reason in failing[:SHOWN_TRUNKS]]
    if len(failing) > SHOWN_TRUNKS:
        found.append(f"{len(failing) - SHOWN_TRUNKS} more trunks cannot place calls; `dialer trunks check` names why.")
    return found


@contextmanager
def opened(data_dir: Path | None) -> Iterator["Database"]:
    """Open the database that the settings, or the `dialer up` of the data folder, name."""
    from dialer import wiring
    from dialer.cli.target import configured, located

    database = wiring.database_of(located(configured(data_dir)))
    try:
        yield database
    finally:
        database.close()


def _say_migration(sentence: str, *, as_json: bool) -> None:
    from dialer.store.database import head

    typer.echo(json.dumps({"migration": head()}) if as_json else sentence.format(head()))
