"""Fields that people write: types that several things have, and pydantic's errors as our `FieldError`s."""

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from dialer.errors import FieldError


def wrong_field(reason: str) -> PydanticCustomError:
    """Make the error that a validator raises. `reason` completes a sentence that begins with the field's name."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def field_errors(error: ValidationError) -> list[FieldError]:
    """Name each wrong field by its path, with the reason. Input is never repeated: it may be a misplaced secret."""
    return [
        FieldError(
            ".".join(str(part) for part in details["loc"] if part != "[key]") or "body",
            details["msg"][0].lower() + details["msg"][1:],
        )
        for details in error.errors(include_url=False, include_input=False)
    ]


def storable(text: str) -> str:
    """Refuse text with a NUL, which Postgres cannot store."""
    if "\0" in text:
        raise wrong_field("has a character that cannot be stored (NUL)")
    return text


Storable = Annotated[str, AfterValidator(storable)]
Name = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(storable)]
