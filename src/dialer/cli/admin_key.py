"""The admin key of an installation on one machine: a file in the data folder that only its owner can read."""

from pathlib import Path

from dialer import wiring
from dialer.cli.data_folder import KEY_FILE, admin_key, write_secret
from dialer.domain.roles import Role
from dialer.errors import NotAuthenticated
from dialer.service import demo_setup, keys
from dialer.service.keys import NewKey
from dialer.store.database import Database


def ensure(db: Database, data_dir: Path) -> str | None:
    """Make sure that the data folder has a valid admin key; return it if it is new."""
    key = admin_key(data_dir)
    if key is not None and _is_valid(db, key):
        return None
    now, rng = wiring.clock(), wiring.chance()
    workspace_id = keys.ensure_workspace(db, demo_setup.WORKSPACE, now, rng)
    new_key: str = keys.create(db, workspace_id, NewKey(role=Role.ADMIN, name=KEY_FILE), now, rng)["key"]
    write_secret(data_dir / KEY_FILE, new_key)
    return new_key


def _is_valid(db: Database, key: str) -> bool:
    try:
        return keys.authenticate(db, key).role is Role.ADMIN
    except NotAuthenticated:
        return False
