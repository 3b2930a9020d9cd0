"""The routes that agents, numbers, trunks, folders and suppressions share: POST, GET one, PATCH, DELETE.

The routes of lists are in the files of the resources, because their filters differ.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel

from dialer.api.auth import Caller
from dialer.api.body import body_of
from dialer.api.envelope import Answer, Listing, PageRequest, answer, listing
from dialer.api.errors import documented
from dialer.api.idempotency import Idempotency
from dialer.service import resources
from dialer.service.fields import InputModel
from dialer.service.resources import ResourceType
from dialer.store.database import Database

# For a resource whose checks depend on the caller.
TypeOf = Callable[[Caller], ResourceType]


def add_routes(
    router: APIRouter,
    resource: ResourceType,
    out: type[BaseModel],
    reads: Any,
    writes: Any,
    *,
    type_of: TypeOf | None = None,
    has_create: bool = True,
) -> None:
    """Add the four routes of a resource.

    Args:
        router: where the routes are added.
        resource: the resource, with the models of its bodies.
        out: the model of its responses.
        reads: the dependency that authenticates readers, such as `Viewer`.
        writes: the dependency that authenticates writers, such as `Operator`.
        type_of: returns the resource as it is for one caller, where that differs.
        has_create: False where the resource has a POST of its own.
    """
    noun = resource.table.noun
    a_noun = noun.replace("_", " ")
    response: Any = Answer[out]  # type: ignore[valid-type]

    def for_caller(caller: Caller) -> ResourceType:
        return type_of(caller) if type_of else resource

    if has_create:
        _add_create(router, resource, for_caller, out, writes)

    @router.get(
        "/{id}",
        name=f"get_{noun}",
        summary=f"Read a {a_noun}",
        description=f"Read a {a_noun}.",
        response_model=response,
        responses=documented(404),
    )
    def get(caller: reads, id: UUID) -> Any:
        return answer(out, resources.show(caller.db, for_caller(caller), caller.workspace_id, id))

    @router.patch(
        "/{id}",
        name=f"update_{noun}",
        summary=f"Change what is given of a {a_noun}",
        description=f"Change what is given of a {a_noun}.",
        response_model=response,
        responses=documented(400, 404, 409, 413),
    )
    def change(caller: writes, id: UUID, idempotency: Idempotency, body: Any = body_of(resource.changed)) -> Response:
        def work(db: Database, changed: InputModel) -> BaseModel:
            return answer(out, resources.change(db, for_caller(caller), caller.workspace_id, id, changed))

        return idempotency.run(caller, body, work, status=200)

    @router.delete(
        "/{id}",
        status_code=204,
        name=f"delete_{noun}",
        summary=f"Delete a {a_noun}",
        description=f"Delete a {a_noun}.",
        responses=documented(404),
    )
    def delete(caller: writes, id: UUID) -> None:
        resources.delete(caller.db, for_caller(caller), caller.workspace_id, id)


def list_page(
    caller: Caller, resource: ResourceType, out: type[Any], page: PageRequest, filters: Mapping[str, Any]
) -> Listing[Any]:
    """Return a page of a resource."""
    views, total = resources.list_page(
        caller.db, resource, caller.workspace_id, filters, page.fetched, page.offset, page.after, page.sort
    )
    return listing(out, views, total, page)


def _add_create(
    router: APIRouter, resource: ResourceType, for_caller: TypeOf, out: type[BaseModel], writes: Any
) -> None:
    noun = resource.table.noun

    @router.post(
        "",
        status_code=201,
        name=f"create_{noun}",
        summary=f"Create a {noun.replace('_', ' ')}",
        description=f"Create a {noun.replace('_', ' ')}.",
        response_model=Answer[out],  # type: ignore[valid-type]
        responses=documented(400, 409, 413),
    )
    def create(caller: writes, idempotency: Idempotency, body: Any = body_of(resource.new)) -> Response:
        def work(db: Database, new: InputModel) -> BaseModel:
            created = resources.create(db, for_caller(caller), caller.workspace_id, new, caller.now, caller.rng)
            return answer(out, created)

        return idempotency.run(caller, body, work)
