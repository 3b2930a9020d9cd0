"""The routes that all resources of operators have: POST, GET one, PATCH, DELETE. Lists differ in their filters."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel

from dialer.api.auth import Caller
from dialer.api.body import body_of
from dialer.api.envelope import Answer, Listing, Page, answer, listing
from dialer.api.errors import documented
from dialer.api.idempotency import DoOnce
from dialer.service import resources
from dialer.service.fields import Fields
from dialer.service.resources import Kind
from dialer.store.database import Database

KindOf = Callable[[Caller], Kind]


def add_routes(
    router: APIRouter,
    kind: KindOf,
    example: Kind,
    out: type[BaseModel],
    reads: Any,
    writes: Any,
    *,
    creates: bool = True,
) -> None:
    """Add the four routes, or all but POST.

    `reads`, `writes`: who may. `example`: a Kind with the models that all of them share.
    """
    noun = example.table.noun
    a_noun = noun.replace("_", " ")
    shown: Any = Answer[out]  # type: ignore[valid-type]

    if creates:
        _add_create(router, kind, example, out, writes)

    @router.get(
        "/{id}",
        name=f"get_{noun}",
        summary=f"Read a {a_noun}",
        description=f"Read a {a_noun}.",
        response_model=shown,
        responses=documented(404),
    )
    def get(caller: reads, id: UUID) -> Any:
        return answer(out, resources.show(caller.db, kind(caller), caller.workspace_id, id))

    @router.patch(
        "/{id}",
        name=f"change_{noun}",
        summary=f"Change what is given of a {a_noun}",
        description=f"Change what is given of a {a_noun}.",
        response_model=shown,
        responses=documented(400, 404, 413),
    )
    def change(caller: writes, id: UUID, body: Any = body_of(example.changed)) -> Any:
        return answer(out, resources.change(caller.db, kind(caller), caller.workspace_id, id, body.read()))

    @router.delete(
        "/{id}",
        status_code=204,
        name=f"delete_{noun}",
        summary=f"Delete a {a_noun}",
        description=f"Delete a {a_noun}.",
        responses=documented(404),
    )
    def delete(caller: writes, id: UUID) -> None:
        resources.delete(caller.db, kind(caller), caller.workspace_id, id)


def listed(caller: Caller, kind: Kind, out: type[Any], page: Page, filters: Mapping[str, Any]) -> Listing[Any]:
    """Answer a page of them, newest first."""
    found, total = resources.listed(caller.db, kind, caller.workspace_id, filters, page.limit, page.offset)
    return listing(out, found, total, page)


def _add_create(router: APIRouter, kind: KindOf, example: Kind, out: type[BaseModel], writes: Any) -> None:
    noun = example.table.noun

    @router.post(
        "",
        status_code=201,
        name=f"create_{noun}",
        summary=f"Create a {noun.replace('_', ' ')}",
        description=f"Create a {noun.replace('_', ' ')}.",
        response_model=Answer[out],  # type: ignore[valid-type]
        responses=documented(400, 409, 413),
    )
    def create(caller: writes, once: DoOnce, body: Any = body_of(example.new)) -> Response:
        def work(db: Database, new: Fields) -> BaseModel:
            made = resources.create(db, kind(caller), caller.workspace_id, new, caller.now, caller.rng)
            return answer(out, made)

        return once(caller, body, work)
