"""The admin key of an installation on one machine: a file in the data folder that only its owner can read."""

import os
from pathlib import Path

from dialer import wiring
from dialer.domain.roles import Role
from dialer.errors import NotAuthenticated
from dialer.service import demo_setup, keys
from dialer.service.keys import NewKey
from dialer.store.database import Database

FILE = "admin.key"


def read(data_dir: Path) -> str | None:
    """Read the key of the data folder, if there is one."""
    try:
        return (data_dir / FILE).read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def ensure(db: Database, data_dir: Path) -> str | None:
    """Make sure that the data folder has a valid admin key; return it if it is new."""
    key = read(data_dir)
    if key is not None and _is_valid(db, key):
        return None
    now, rng = wiring.clock(), wiring.chance()
    workspace_id = keys.ensure_workspace(db, demo_setup.WORKSPACE, now, rng)
    new_key: str = keys.create(db, workspace_id, NewKey(role=Role.ADMIN, name=FILE), now, rng)["key"]
    write_secret(data_dir / FILE, new_key)
    return new_key


def write_secret(path: Path, text: str) -> None:
    """Write a file atomically, readable only by its owner from the moment it exists."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
    new.replace(path)


def _is_valid(db: Database, key: str) -> bool:
    try:
        return keys.authenticate(db, key).role is Role.ADMIN
    except NotAuthenticated:
        return False
