"""The commands of `dialer`, by who uses them: where each is, and its line in `dialer --help`.

A command is imported when it is used, so that none waits for the others, and `dialer --help` for no one.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Call lists": {
        "demo": ("run:demo", "Call generated contacts on a simulated network and audit."),
        "run": ("run:run", "Call the contacts of a CSV file to the end."),
        "batch": ("batch_group:group", "Batches: create, list, show, schedule, pause, resume, cancel, set, watch, …"),
        "contacts": ("contacts:group", "The contacts of a batch: import, list, show, set, remove."),
        "calls": ("calls:group", "The calls of all batches: list, show."),
        "top": ("top:top", "Watch batches, calls, trunks and troubles live."),
    },
    "Set up": {
        "agents": ("resources:agents", "The agents that answered calls go to."),
        "numbers": ("resources:numbers", "The outbound numbers."),
        "trunks": ("resources:trunks", "The connections to telephone networks."),
        "folders": ("resources:folders", "Contacts that are kept for several batches."),
        "suppress": ("resources:suppress", "Numbers that are not called."),
        "webhooks": ("resources:webhooks", "Where this workspace wants to hear what happens."),
        "keys": ("keys:group", "The keys of the HTTP API: create, list, revoke."),
        "workspaces": ("workspaces:group", "What each workspace may call and keeps: list, limit, keep."),
        "person": ("person:group", "What is held on one telephone number: export, erase."),
    },
    "Run Dialer": {
        "up": ("up:up", "Run everything on this machine, until Ctrl-C."),
        "api": ("processes:api", "In a cluster: answer HTTP requests."),
        "worker": ("processes:worker", "In a cluster: run the steps. Start as many as you like."),
        "beat": ("processes:beat", "In a cluster: tick. Start two."),
        "listener": ("processes:listener", "In a cluster: receive the networks' call events."),
        "simulator": ("processes:simulator", "Run a simulated telephone network."),
        "db": ("diagnostics:db_group", "The migrations of the database: upgrade, check."),
    },
    "Find out": {
        "doctor": ("diagnostics:doctor", "Check this installation."),
        "alive": ("alive:alive", "In a cluster: check that a process on this machine runs."),
        "audit": ("diagnostics:audit", "Recompute the promises from the ledger."),
        "quarantine": ("quarantine:group", "What fails because of its own data and is kept: list, retry."),
        "bench": ("bench:bench", "Measure Dialer on this machine."),
    },
}  # fmt: skip
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class CommandSections(TyperGroup):
    """Lists the commands of each section under its title, and makes a command when it is used."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Commands()  # type: ignore[assignment]  # nothing is added to it

    def list_commands(self, _ctx: Any) -> list[str]:
        """Return the names, without making the commands."""
        return list(COMMANDS)

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """Write the sections."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, line) in commands.items()])


class _Commands(Mapping[str, Any]):
    """Makes a command, or a group of them, when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        return _command(name, *COMMANDS[name])

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@cache
def _command(name: str, place: str, line: str) -> Any:
    module, _, attribute = place.partition(":")
    part = getattr(import_module(f"dialer.cli.{module}"), attribute)
    parent = typer.Typer(rich_markup_mode=None)
    if isinstance(part, typer.Typer):
        parent.add_typer(part, name=name, help=line)
    else:
        parent.command(name, short_help=line)(part)
    return get_group(parent).commands[name]
