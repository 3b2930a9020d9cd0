"""API keys: made, checked, revoked. The secret is shown when a key is made, and never again.

A key reads `dialer_<id>_<secret>`; the id finds the row, the secret is compared with a hash. SHA-256 without salt or
stretching is enough here, since the secret is 256 bits of chance and cannot be guessed from a list.
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
from dialer.errors import InvalidInput, NotAuthenticated, NotFound
from dialer.service.fields import Fields, Name
from dialer.store import configuration, keys
from dialer.store.database import Database

_FORM = re.compile(r"dialer_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")
_REFUSED = "The API key is missing, malformed, unknown or revoked"
# Compared with where there is no such key, so that the time of an answer does not tell which ids exist.
_NOBODY = bytes(32)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose request it is. `workspace`: the name of the workspace."""

    key_id: KeyId
    workspace_id: WorkspaceId
    workspace: str
    role: Role


class NewKey(Fields):
    """A key to be made."""

    model_config = ConfigDict(json_schema_extra={"example": {"role": "operator", "name": "campaign tool"}})

    role: Role
    name: Name = "key"


def create(db: Database, workspace_id: WorkspaceId, new: NewKey, now: DateTime, rng: Random) -> dict[str, Any]:
    """Make a key; `key` of what is returned is the only copy of it."""
    key_id = KeyId(uuid7(now, rng))
    secret = secrets.token_urlsafe(32)
    with db.begin() as connection:
        row = keys.insert(connection, key_id, workspace_id, new.name, new.role, _hash(secret))
    return dict(row._mapping) | {"key": f"dialer_{key_id.hex}_{secret}"}


def authenticate(db: Database, key: str) -> Identity:
    """Say whose key it is; NotAuthenticated: nobody's, or it was revoked."""
    form = _FORM.fullmatch(key)
    if form is None:
        raise NotAuthenticated(_REFUSED)
    with db.begin() as connection:
        row = keys.find_live(connection, UUID(form[1]))
    if not hmac.compare_digest(_hash(form[2]), row.secret_hash if row else _NOBODY) or row is None:
        raise NotAuthenticated(_REFUSED)
    return Identity(row.id, row.workspace_id, row.workspace, Role(row.role))


def listed(
    db: Database, workspace_id: WorkspaceId, limit: int | None = None, offset: int = 0
) -> tuple[list[dict[str, Any]], int]:
    """Read a page of the keys, newest first, without their secrets; and how many there are."""
    with db.begin() as connection:
        found = keys.of_workspace(connection, workspace_id, limit, offset)
        return [dict(row._mapping) for row in found], keys.count(connection, workspace_id)


def show(db: Database, workspace_id: WorkspaceId, key_id: KeyId) -> dict[str, Any]:
    """Read one key, without its secret; raises NotFound."""
    with db.begin() as connection:
        row = keys.read(connection, workspace_id, key_id)
    if row is None:
        raise NotFound("No such key in this workspace")
    return dict(row._mapping)


def revoke(db: Database, workspace_id: WorkspaceId, key_id: KeyId) -> None:
    """Make a key worthless at once."""
    with db.begin() as connection:
        if not keys.revoke(connection, workspace_id, key_id):
            raise NotFound("No such key in this workspace")


def workspace(db: Database, name: str, now: DateTime, rng: Random) -> WorkspaceId:
    """Find the workspace of this name, made now if there is none."""
    if not 1 <= len(name) <= 255:
        raise InvalidInput.of("workspace", "must have 1 to 255 characters")
    with db.begin() as connection:
        return configuration.ensure_workspace(connection, WorkspaceId(uuid7(now, rng)), name)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
