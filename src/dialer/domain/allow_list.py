"""What the machine's owner allows to workspaces, as it stands in a setting.

In: entries `THING@one|two`, each a thing and the names of the workspaces that may use it. An entry without `@` is for
the workspace `default`, which belongs to the machine's owner. Out: which workspaces may use a thing.
"""

from collections import defaultdict
from collections.abc import Iterable

DEFAULT_WORKSPACE = "default"
# What trunks of that workspace may connect to unless the owner says otherwise: a switch on this machine, and the
# simulated network of `dialer up`.
LOOPBACK = ("127.0.0.0/8", "::1/128")


def workspaces_by_entry(entries: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return for each thing the workspaces that may use it; ValueError where an entry has no thing or no workspace."""
    found: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        thing, at, names = (part.strip() for part in entry.partition("@"))
        workspaces = [name.strip() for name in names.split("|")] if at else [DEFAULT_WORKSPACE]
        if not thing or not all(workspaces):
            raise ValueError("must be NAME or NAME@workspace|workspace")
        found[thing] |= set(workspaces)
    return {thing: frozenset(workspaces) for thing, workspaces in found.items()}
