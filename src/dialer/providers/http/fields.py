"""What pydantic refuses, in our words: every wrong field by its path."""

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from dialer.errors import FieldError, InvalidInput


def refusal(reason: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def invalid(error: ValidationError) -> InvalidInput:
    """Name each wrong field. What was given is not repeated: it may be a secret in the wrong place."""
    return InvalidInput(
        [
            FieldError(".".join(map(str, one["loc"])) or "body", one["msg"][0].lower() + one["msg"][1:])
            for one in error.errors(include_url=False, include_input=False)
        ]
    )
