"""`X-Idempotency-Key`, which every POST and PATCH accepts that changes something."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from dialer.api.auth import Caller
from dialer.api.body import Body
from dialer.service.fields import InputModel, Storable
from dialer.service.idempotency import StoredResponse, run_once, stored_response
from dialer.store.database import Database
from dialer.store.idempotency import Scope

MAX_KEY_CHARACTERS = 255

F = TypeVar("F", bound=InputModel)


class IdempotentRequest:
    """A POST or PATCH and its idempotency key, if it has one."""

    def __init__(self, request: Request, key: str | None) -> None:
        self._route = f"{request.method} {request.url.path}"
        self._key = key

    def run(
        self, caller: Caller, body: Body[F], work: Callable[[Database, F], BaseModel], status: int = 201
    ) -> Response:
        """Run `work` with the validated body in one transaction, and respond with what it returns.

        A request whose key was used before gets the stored response, and `work` does not run.
        """

        def execute(db: Database) -> str:
            return work(db, body.read()).model_dump_json()

        if self._key is None:
            response = caller.db.insist(
                lambda connection: StoredResponse(status, execute(caller.db.within(connection)))
            )
        else:
            scope = Scope(caller.workspace_id, self._route, self._key)
            response = run_once(caller.db, scope, body.fingerprint(), status, execute)
        return _sent(response)

    def replay(self, caller: Caller, body: Body[F]) -> Response | None:
        """Respond as to an earlier request with this key, where `run` was not reached; None: there was none."""
        if self._key is None:
            return None
        stored = stored_response(caller.db, Scope(caller.workspace_id, self._route, self._key), body.fingerprint())
        return None if stored is None else _sent(stored)


def _sent(response: StoredResponse) -> Response:
    headers = {"Idempotent-Replayed": "true"} if response.is_replay else {}
    return Response(response.body, response.status, headers, media_type="application/json")


def _idempotent_request(
    request: Request,
    x_idempotency_key: Annotated[
        Storable | None,
        Header(min_length=1, max_length=MAX_KEY_CHARACTERS, description="The same key and body get the same response."),
    ] = None,
) -> IdempotentRequest:
    return IdempotentRequest(request, x_idempotency_key)


Idempotency = Annotated[IdempotentRequest, Depends(_idempotent_request)]
