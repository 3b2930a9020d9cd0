"""Who asks: a key in `Authorization: Bearer …`, checked against the database at every request, and its role."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from random import Random
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pendulum import DateTime

from dialer import wiring
from dialer.api.request_context import here
from dialer.domain.ids import KeyId, WorkspaceId
from dialer.domain.roles import Role
from dialer.engine.context import EngineContext
from dialer.errors import NotAllowed, NotAuthenticated, TooManyRequests
from dialer.service import keys
from dialer.settings import Settings
from dialer.store.database import Database

bearer = HTTPBearer(auto_error=False, description="A key made with `dialer keys create`.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, when, and with what the request is answered."""

    context: EngineContext
    settings: Settings
    workspace_id: WorkspaceId
    workspace: str
    key_id: KeyId
    role: Role
    now: DateTime
    rng: Random

    @property
    def db(self) -> Database:
        return self.context.db


def _needs(wanted: Role) -> Callable[..., Caller]:
    def caller(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]
    ) -> Caller:
        if credentials is None:
            raise NotAuthenticated("The API key is missing; send it as Authorization: Bearer <key>")
        state = request.app.state
        who = keys.authenticate(state.context.db, credentials.credentials)
        _count(state, who.key_id)
        if not who.role.suffices_for(wanted):
            raise NotAllowed(f"This needs the role {wanted}; the key has the role {who.role}")
        context = state.reading if request.method == "GET" else state.context
        return Caller(
            context, state.settings, who.workspace_id, who.workspace, who.key_id, who.role, here().now, state.rng
        )

    caller.__name__ = f"needs_{wanted}"
    caller.wanted = wanted  # type: ignore[attr-defined]  # read by the test that walks all routes
    return caller


def _count(state: Any, key_id: KeyId) -> None:
    """Count this request; raises TooManyRequests. By the clock of Redis, not by ours: all processes count together."""
    if state.rate_limits.hit(key_id.hex):
        return
    wait_seconds = ceil(state.rate_limits.free_at(key_id.hex) - wiring.clock().timestamp())
    limit = state.settings.rate_limit_per_minute
    raise TooManyRequests(
        f"This key has made {limit:,} requests within a minute", retry_after_seconds=min(60, max(1, wait_seconds))
    )


Viewer = Annotated[Caller, Depends(_needs(Role.VIEWER))]
Operator = Annotated[Caller, Depends(_needs(Role.OPERATOR))]
Admin = Annotated[Caller, Depends(_needs(Role.ADMIN))]
