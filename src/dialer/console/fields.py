"""Query parameters of the pages."""

from typing import Annotated, TypeVar

from pydantic import BeforeValidator

T = TypeVar("T")
# A form sends every field, also those that were left empty.
Chosen = Annotated[T | None, BeforeValidator(lambda value: value or None)]
