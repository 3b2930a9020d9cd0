"""Authentication: an API key in `Authorization: Bearer …`, checked in the database at every request, and its role."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from random import Random
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pendulum import DateTime

from dialer import wiring
from dialer.api.parameters import check_parameters
from dialer.api.request_context import current_request
from dialer.domain.change_origin import CLI_USER_AGENT, ChangeOrigin, ChangeSource
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
    """The authenticated caller of a request, and what its handler works with."""

    context: EngineContext  #: For GET requests one whose statements have a timeout.
    settings: Settings
    workspace_id: WorkspaceId
    workspace: str  #: The name of the workspace.
    key_id: KeyId
    role: Role
    now: DateTime  #: When the request came in.
    rng: Random

    @property
    def db(self) -> Database:
        return self.context.db


def _requires(wanted: Role) -> Callable[..., Caller]:
    def caller(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]
    ) -> Caller:
        if credentials is None:
            raise NotAuthenticated("The API key is missing; send it as Authorization: Bearer <key>")
        state = request.app.state
        identity = keys.authenticate(state.context.db, credentials.credentials)
        check_rate_limit(state, identity.key_id)
        if not identity.role.suffices_for(wanted):
            raise NotAllowed(f"This needs the role {wanted}; the key has the role {identity.role}")
        check_parameters(request)
        return Caller(
            context=state.read_context
            if request.method == "GET"
            else attributed(state.context, _source(request), identity),
            settings=state.settings,
            workspace_id=identity.workspace_id,
            workspace=identity.workspace,
            key_id=identity.key_id,
            role=identity.role,
            now=current_request().now,
            rng=state.rng,
        )

    caller.__name__ = f"needs_{wanted}"
    caller.wanted = wanted  # type: ignore[attr-defined]  # read by the test that checks the role of every route
    return caller


def _source(request: Request) -> ChangeSource:
    is_command = request.headers.get("user-agent", "").startswith(CLI_USER_AGENT)
    return ChangeSource.CLI if is_command else ChangeSource.API


def attributed(context: EngineContext, source: ChangeSource, identity: keys.Identity) -> EngineContext:
    """Return the context with a database that keeps in the history of batches who changes them, and from where."""
    return replace(context, db=context.db.attributed_to(ChangeOrigin(source, identity.key_id)))


def check_rate_limit(state: Any, key_id: KeyId) -> None:
    """Count this request; raises TooManyRequests. Redis counts by its own clock, since processes share the limit."""
    if state.rate_limits.hit(key_id.hex):
        return
    wait_seconds = ceil(state.rate_limits.free_at(key_id.hex) - wiring.clock().timestamp())
    limit = state.settings.rate_limit_per_minute
    raise TooManyRequests(
        f"This key has made {limit:,} requests within a minute", retry_after_seconds=min(60, max(1, wait_seconds))
    )


Viewer = Annotated[Caller, Depends(_requires(Role.VIEWER))]
Operator = Annotated[Caller, Depends(_requires(Role.OPERATOR))]
Admin = Annotated[Caller, Depends(_requires(Role.ADMIN))]
