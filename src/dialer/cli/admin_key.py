"""The first key of an installation on one machine: in a file that only its owner reads."""

import os
from pathlib import Path

from dialer import wiring
from dialer.domain.roles import Role
from dialer.errors import NotAuthenticated
from dialer.service import demo_setup, keys
from dialer.service.keys import NewKey
from dialer.store.database import Database

FILE = "admin.key"


def kept(data_dir: Path) -> str | None:
    """Read the key of the data folder, if there is one."""
    try:
        return (data_dir / FILE).read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def ensure(db: Database, data_dir: Path) -> str | None:
    """Make sure that the folder has a key that works; return it if it is new."""
    key = kept(data_dir)
    if key is not None and _works(db, key):
        return None
    now, rng = wiring.clock(), wiring.chance()
    workspace_id = keys.workspace(db, demo_setup.WORKSPACE, now, rng)
    made: str = keys.create(db, workspace_id, NewKey(role=Role.ADMIN, name=FILE), now, rng)["key"]
    write_secret(data_dir / FILE, made)
    return made


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first moment on; it is there whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
    new.replace(path)


def _works(db: Database, key: str) -> bool:
    try:
        return keys.authenticate(db, key).role is Role.ADMIN
    except NotAuthenticated:
        return False
