"""Allow lists in settings: which workspaces may use an environment variable or a network.

In: entries `NAME@workspace|workspace`. An entry without `@` is for the workspace `default`, which belongs to the
machine's owner. Out: which workspaces may use each name.
"""

from collections import defaultdict
from collections.abc import Iterable

DEFAULT_WORKSPACE = "default"
# What trunks of that workspace may connect to by default: a switch on this machine, and the simulator of `dialer up`.
LOOPBACK = ("127.0.0.0/8", "::1/128")


def workspaces_by_entry(entries: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the workspaces that may use each name; ValueError where an entry has no name or an empty workspace."""
    allowed: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        name, at, listed = (part.strip() for part in entry.partition("@"))
        workspaces = [workspace.strip() for workspace in listed.split("|")] if at else [DEFAULT_WORKSPACE]
        if not name or not all(workspaces):
            raise ValueError("must be NAME or NAME@workspace|workspace")
        allowed[name] |= set(workspaces)
    return {name: frozenset(workspaces) for name, workspaces in allowed.items()}
