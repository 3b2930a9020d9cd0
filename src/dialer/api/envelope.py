"""The response format: `data` and `meta`, with `pagination` for lists; `error` and `meta` for errors.

Class names here are component names of the OpenAPI document, which is a public contract.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict

from dialer.api.request_context import current_request
from dialer.domain.batch_warnings import BatchWarning
from dialer.store.pages import Listed

T = TypeVar("T", bound=BaseModel)


class Warned(BaseModel):
    """A setting that is valid and probably not meant. `message` completes a sentence that begins with the field."""

    field: str
    message: str


class Meta(BaseModel):
    request_id: str
    ts: datetime
    warnings: list[Warned] = []


class Answer(BaseModel, Generic[T]):
    data: T
    meta: Meta


class Pagination(BaseModel):
    """`next_after`: send it as `after` to get the next page; null: this is the last page."""

    total: int
    limit: int
    offset: int
    has_more: bool
    next_after: UUID | int | None = None


class Listing(BaseModel, Generic[T]):
    data: list[T]
    pagination: Pagination
    meta: Meta


class Keyset(BaseModel):
    """`next_after`: send it as `after` to get the next page; null: this is the last page."""

    limit: int
    next_after: UUID | None


class KeysetListing(BaseModel, Generic[T]):
    data: list[T]
    pagination: Keyset
    meta: Meta


class Detail(BaseModel):
    field: str
    reason: str


class ErrorBody(BaseModel):
    code: str
    message: str
    details: list[Detail] = []


class Error(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "error": {
                    "code": "invalid_input",
                    "message": "max_concurrent_calls: must be at most 100",
                    "details": [{"field": "max_concurrent_calls", "reason": "must be at most 100"}],
                },
                "meta": {"request_id": "019cad8f-ac00-7d38-8f21-ddb66cad4a26", "ts": "2030-01-31T09:00:00Z"},
            }
        }
    )

    error: ErrorBody
    meta: Meta


class PageRequest(BaseModel):
    """Which page of a list to return. `after`: the last entry of the page before; `number`: its id, where ids are
    numbers. `sort`: in which order; None: the list has only one.
    """

    limit: int
    offset: int
    after: UUID | None = None
    number: int | None = None
    sort: str | None = None

    @property
    def fetched(self) -> int:
        """How many entries are read: one more than are shown says whether there is a next page."""
        return self.limit + 1


def _page(
    limit: Annotated[int, Query(ge=1, le=100, description="How many at most.")] = 50,
    offset: Annotated[int, Query(ge=0, le=2_147_483_647, description="How many to skip.")] = 0,
) -> PageRequest:
    return PageRequest(limit=limit, offset=offset)


def _page_after(
    page: Annotated[PageRequest, Depends(_page)],
    after: Annotated[UUID | None, Query(description="`next_after` of the page before, in place of `offset`.")] = None,
) -> PageRequest:
    return page.model_copy(update={"after": after})


def _page_after_number(
    page: Annotated[PageRequest, Depends(_page)],
    after: Annotated[
        int | None, Query(ge=0, le=2**63 - 1, description="`next_after` of the page before, in place of `offset`.")
    ] = None,
) -> PageRequest:
    return page.model_copy(update={"number": after})


# Of a list whose ids are numbers.
NumberedPage = Annotated[PageRequest, Depends(_page_after_number)]


# How the parameter `sort` is described.
SORT = Query(description="In this order; with a minus, the other way round.")
ByTime = Annotated[Literal["created_at", "-created_at"], SORT]


def page_of(listed: Listed) -> Any:
    """Make the dependency of a list: which page, in which order. A page at any depth costs the same."""
    sorts: Any = Literal[listed.sorts]

    def page(
        page: Annotated[PageRequest, Depends(_page_after)],
        sort: Annotated[sorts, SORT] = listed.default,
    ) -> PageRequest:
        return page.model_copy(update={"sort": sort})

    return Depends(page)


def meta(warnings: Iterable[BatchWarning] = ()) -> Meta:
    warned = [Warned(field=warning.field, message=warning.message) for warning in warnings]
    return Meta(request_id=current_request().request_id, ts=current_request().now, warnings=warned)


def answer(model: type[T], data: Any, warnings: Iterable[BatchWarning] = ()) -> Answer[T]:
    """Wrap one resource, read from a mapping or from an object's attributes."""
    resource = model.model_validate(data, from_attributes=True)
    return Answer[model](data=resource, meta=meta(warnings))  # type: ignore[valid-type]


def listing(model: type[T], data: Iterable[Any], total: int, page: PageRequest) -> Listing[T]:
    """Wrap one page of a list that has `total` entries, of which `page.fetched` were read.

    Each has an `id` that is a UUID or a number.
    """
    read = [model.model_validate(entry, from_attributes=True) for entry in data]
    entries, has_more = read[: page.limit], len(read) > page.limit
    next_after = getattr(entries[-1], "id", None) if has_more else None
    pagination = Pagination(total=total, limit=page.limit, offset=page.offset, has_more=has_more, next_after=next_after)
    return Listing[model](data=entries, pagination=pagination, meta=meta())  # type: ignore[valid-type]


def keyset_listing(model: type[T], data: Iterable[Any], limit: int, next_after: UUID | None) -> KeysetListing[T]:
    """Wrap one page of a list that is read by key and not counted."""
    entries = [model.model_validate(entry, from_attributes=True) for entry in data]
    pagination = Keyset(limit=limit, next_after=next_after)
    return KeysetListing[model](data=entries, pagination=pagination, meta=meta())  # type: ignore[valid-type]
