"""API keys: create, authenticate, list, revoke. The secret is shown when a key is created, and never again.

The format is `dialer_<id>_<secret>`: the id finds the row, the secret is compared with its hash. SHA-256 without salt
or stretching is enough, because the secret is 256 random bits and no dictionary contains it.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from pendulum import DateTime
from pydantic import ConfigDict

from dialer.domain.ids import KeyId, WorkspaceId, uuid7
from dialer.domain.roles import Role
from dialer.domain.validation import Name
from dialer.errors import InvalidInput, NotAuthenticated, NotFound
from dialer.service.input_model import InputModel
from dialer.store import configuration, keys
from dialer.store.database import Database

_FORM = re.compile(r"dialer_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")
_REFUSED = "The API key is missing, malformed, unknown or revoked"
# Compared with for an unknown id, so that the response time does not tell which ids exist.
_NOBODY = bytes(32)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a key stands for."""

    key_id: KeyId
    workspace_id: WorkspaceId
    workspace: str  #: The name of the workspace.
    role: Role


class NewKey(InputModel):
    """A key to be made."""

    model_config = ConfigDict(json_schema_extra={"example": {"role": "operator", "name": "campaign tool"}})

    role: Role
    name: Name = "key"


def create(db: Database, workspace_id: WorkspaceId, new: NewKey, now: DateTime, rng: Random) -> dict[str, Any]:
    """Create a key.

    Args:
        db: the database.
        workspace_id: the workspace whose rows the key may use.
        new: name and role.
        now: the current time.
        rng: source of random numbers, for the id; the secret comes from the operating system.

    Returns:
        The row of the key, and the key itself as `key`. It cannot be read again.
    """
    key_id = KeyId(uuid7(now, rng))
    secret = secrets.token_urlsafe(32)
    with db.begin() as connection:
        row = keys.insert(connection, key_id, workspace_id, new.name, new.role, _hash(secret))
    return dict(row._mapping) | {"key": f"dialer_{key_id.hex}_{secret}"}


def authenticate(db: Database, key: str) -> Identity:
    """Find the identity behind a key.

    Args:
        db: the database.
        key: the key as the client sent it.

    Returns:
        The identity.

    Raises:
        NotAuthenticated: the key is malformed, unknown or revoked.
    """
    form = _FORM.fullmatch(key)
    if form is None:
        raise NotAuthenticated(_REFUSED)
    with db.begin() as connection:
        row = keys.find_live(connection, UUID(form[1]))
    if not hmac.compare_digest(_hash(form[2]), row.secret_hash if row else _NOBODY) or row is None:
        raise NotAuthenticated(_REFUSED)
    return Identity(row.id, row.workspace_id, row.workspace, Role(row.role))


def list_page(
    db: Database,
    workspace_id: WorkspaceId,
    limit: int | None = None,
    offset: int = 0,
    after: UUID | None = None,
    sort: str | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of the keys without their secrets.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        limit: the size of the page; None: all.
        offset: how many keys come before the page.
        after: the last entry of the page before; None: the first page.
        sort: one of `keys.KEYS.sorts`; None: its default.

    Returns:
        The keys, and how many there are.
    """
    with db.begin() as connection:
        page = keys.of_workspace(connection, workspace_id, limit, offset, after, sort)
        return [dict(row._mapping) for row in page], keys.count(connection, workspace_id)


def show(db: Database, workspace_id: WorkspaceId, key_id: KeyId) -> dict[str, Any]:
    """Read one key, without its secret.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        key_id: the key.

    Returns:
        The key.

    Raises:
        NotFound: there is no such key in this workspace.
    """
    with db.begin() as connection:
        row = keys.read(connection, workspace_id, key_id)
    if row is None:
        raise NotFound("No such key in this workspace")
    return dict(row._mapping)


def revoke(db: Database, workspace_id: WorkspaceId, key_id: KeyId) -> None:
    """Revoke a key: its next request is refused. Calling this twice is safe.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        key_id: the key.

    Raises:
        NotFound: there is no such key in this workspace.
    """
    with db.begin() as connection:
        if not keys.revoke(connection, workspace_id, key_id):
            raise NotFound("No such key in this workspace")


def ensure_workspace(db: Database, name: str, now: DateTime, rng: Random) -> WorkspaceId:
    """Return the workspace of this name, created now if there is none.

    Args:
        db: the database.
        name: the name.
        now: the current time.
        rng: source of random numbers, for the id.

    Returns:
        The id of the workspace.

    Raises:
        InvalidInput: the name is empty or too long.
    """
    if not 1 <= len(name) <= 255:
        raise InvalidInput.of("workspace", "must have 1 to 255 characters")
    with db.begin() as connection:
        return configuration.ensure_workspace(connection, WorkspaceId(uuid7(now, rng)), name)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
