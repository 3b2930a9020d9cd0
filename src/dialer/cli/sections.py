"""The list of commands in `dialer --help`, by who uses them."""

from typing import Any

from typer.core import TyperGroup

SECTIONS = {
    "Call lists": ("demo", "run", "batch", "contacts", "calls", "top"),
    "Set up": ("agents", "numbers", "trunks", "folders", "suppress", "webhooks", "keys", "workspaces"),
    "Run Dialer": ("up", "api", "worker", "beat", "listener", "simulator", "db"),
    "Find out": ("doctor", "alive", "audit", "quarantine", "bench"),
}


class CommandSections(TyperGroup):
    """Lists the commands of each section under its title."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the sections."""
        for title, names in SECTIONS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl([(name, command.get_short_help_str(100)) for name, command in commands if command])
