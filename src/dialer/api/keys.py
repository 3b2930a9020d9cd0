"""`/keys`: the keys of this API. Only for admins."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from dialer.api.auth import Admin
from dialer.api.body import Body, body_of
from dialer.api.envelope import Answer, Listing, PageRequest, answer, listing, page_of
from dialer.api.errors import documented
from dialer.domain.ids import KeyId
from dialer.domain.roles import Role
from dialer.service import keys
from dialer.service.keys import NewKey
from dialer.store.keys import KEYS

router = APIRouter(prefix="/keys", tags=["Keys"])


class Key(BaseModel):
    id: UUID
    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None


class MadeKey(Key):
    """`key`: the key itself, shown only once."""

    key: str


@router.get("")
def list_keys(caller: Admin, page: Annotated[PageRequest, page_of(KEYS)]) -> Listing[Key]:
    """List the keys of this workspace, by default newest first, including revoked ones."""
    views, total = keys.list_page(caller.db, caller.workspace_id, page.fetched, page.offset, page.after, page.sort)
    return listing(Key, views, total, page)


@router.post("", status_code=201, responses=documented(400, 413))
def create_key(caller: Admin, body: Annotated[Body[NewKey], body_of(NewKey)]) -> Answer[MadeKey]:
    """Create a key. It is shown only in this response, which is never stored: an idempotency key has no effect here."""
    return answer(MadeKey, keys.create(caller.db, caller.workspace_id, body.read(), caller.now, caller.rng))


@router.get("/{key_id}", responses=documented(404))
def get_key(caller: Admin, key_id: KeyId) -> Answer[Key]:
    """Read one key, without its secret."""
    return answer(Key, keys.show(caller.db, caller.workspace_id, key_id))


@router.delete("/{key_id}", status_code=204, responses=documented(404))
def revoke_key(caller: Admin, key_id: KeyId) -> None:
    """Revoke a key: its next request is refused."""
    keys.revoke(caller.db, caller.workspace_id, key_id)
