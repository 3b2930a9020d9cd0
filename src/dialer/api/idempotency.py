"""`X-Idempotency-Key`, which every POST with a JSON body honours."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from dialer.api.auth import Caller
from dialer.api.body import Body
from dialer.service.fields import Fields
from dialer.service.idempotency import Done, do_once
from dialer.store.database import Database
from dialer.store.idempotency import Scope

MAX_KEY_CHARACTERS = 255

F = TypeVar("F", bound=Fields)


class Once:
    """Does the work of one POST once if the request has a key, each time if it has none."""

    def __init__(self, request: Request, key: str | None) -> None:
        self._route = f"{request.method} {request.url.path}"
        self._key = key

    def __call__(
        self, caller: Caller, body: Body[F], work: Callable[[Database, F], BaseModel], status: int = 201
    ) -> Response:
        """Do `work` with the fields of the body, in one transaction, and answer with what it returns."""

        def answered(db: Database) -> str:
            return work(db, body.read()).model_dump_json()

        if self._key is None:
            done = caller.db.insist(lambda connection: Done(status, answered(caller.db.within(connection))))
        else:
            scope = Scope(caller.workspace_id, self._route, self._key)
            done = do_once(caller.db, scope, body.fingerprint(), status, answered)
        headers = {"Idempotent-Replayed": "true"} if done.is_replay else {}
        return Response(done.body, done.status, headers, media_type="application/json")


def _once(
    request: Request,
    x_idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1, max_length=MAX_KEY_CHARACTERS, description="The same key and body: the same answer again."
        ),
    ] = None,
) -> Once:
    return Once(request, x_idempotency_key)


DoOnce = Annotated[Once, Depends(_once)]
