"""What every answer is wrapped in: `data` and `meta`, with `pagination` for lists; `error` and `meta` for a refusal."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict

from dialer.api.request_context import here

T = TypeVar("T", bound=BaseModel)


class Meta(BaseModel):
    request_id: str
    ts: datetime


class Answer(BaseModel, Generic[T]):
    data: T
    meta: Meta


class Pagination(BaseModel):
    total: int
    limit: int
    offset: int
    has_more: bool


class Listing(BaseModel, Generic[T]):
    data: list[T]
    pagination: Pagination
    meta: Meta


class Detail(BaseModel):
    field: str
    reason: str


class ErrorBody(BaseModel):
    code: str
    message: str
    details: list[Detail] = []


class Refusal(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "error": {
                    "code": "invalid_input",
                    "message": "max_concurrent_calls: input should be less than or equal to 100",
                    "details": [
                        {"field": "max_concurrent_calls", "reason": "input should be less than or equal to 100"}
                    ],
                },
                "meta": {"request_id": "019cad8f-ac00-7d38-8f21-ddb66cad4a26", "ts": "2030-01-31T09:00:00Z"},
            }
        }
    )

    error: ErrorBody
    meta: Meta


class Page(BaseModel):
    """Which part of a list is asked for."""

    limit: int
    offset: int


def _page(
    limit: Annotated[int, Query(ge=1, le=100, description="How many at most.")] = 50,
    offset: Annotated[int, Query(ge=0, le=2_147_483_647, description="How many to pass over.")] = 0,
) -> Page:
    return Page(limit=limit, offset=offset)


AskedPage = Annotated[Page, Depends(_page)]


def meta() -> Meta:
    return Meta(request_id=here().request_id, ts=here().now)


def answer(model: type[T], data: Any) -> Answer[T]:
    """Wrap one thing, made of a mapping or of an object's attributes."""
    return Answer[model](data=model.model_validate(data, from_attributes=True), meta=meta())  # type: ignore[valid-type]


def listing(model: type[T], data: Iterable[Any], total: int, page: Page) -> Listing[T]:
    """Wrap a page of a list that has `total` entries in all."""
    entries = [model.model_validate(one, from_attributes=True) for one in data]
    has_more = page.offset + len(entries) < total
    pagination = Pagination(total=total, limit=page.limit, offset=page.offset, has_more=has_more)
    return Listing[model](data=entries, pagination=pagination, meta=meta())  # type: ignore[valid-type]
