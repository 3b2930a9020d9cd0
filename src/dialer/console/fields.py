"""Query parameters of the pages, and what is wrong with the fields of a form."""

from typing import Annotated, TypeVar

from pydantic import BeforeValidator

from dialer.errors import DialerError

T = TypeVar("T")
# A form sends every field, also those that were left empty.
Chosen = Annotated[T | None, BeforeValidator(lambda value: value or None)]


def wrong_fields(error: DialerError | None) -> dict[str, str]:
    """Return what is wrong with each field of a form; of a part of a field with the name of that part."""
    reasons: dict[str, str] = {}
    for each in error.errors if error else ():
        name, *parts = each.field.split(".")
        reasons.setdefault(name, " ".join([*(part for part in parts if not part.isdecimal()), each.reason]))
    return reasons
