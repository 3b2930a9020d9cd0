"""Fields that people write: types that several things have, and pydantic's errors as our `FieldError`s."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from dialer.errors import FieldError

MAX_ERRORS = 10_000
MAX_NAMED_ERRORS = 100
# What pydantic's kinds of errors are called; each completes a sentence that begins with the field's name.
_REASONS = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "enum": "must be {expected}",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_type": "must be text",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
}


def wrong_field(reason: str) -> PydanticCustomError:
    """Make the error that a validator raises. `reason` completes a sentence that begins with the field's name."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def reason_of(details: ErrorDetails) -> str:
    """Say what is wrong with a field, without its value."""
    context = details.get("ctx", {})
    if context.get("min_length") == 1:
        return "must not be empty"
    if details["type"] in _REASONS:
        return _REASONS[details["type"]].format(**context)
    return details["msg"][:1].lower() + details["msg"][1:]


def field_errors(error: ValidationError, given: object = None) -> list[FieldError]:
    """Name the first 100 wrong fields, each by its path in what was given, with the reason.

    `given`: what was validated. Where a field may have one of several forms, the form that fits best is reported.
    Values are never repeated: one may be a misplaced secret.
    """
    count = error.error_count()
    if count > MAX_ERRORS:
        # To convert so many takes longer than a client may wait, and more memory than a process should use.
        return [FieldError("body", f"has {count} wrong values, which are too many to name")]
    mistakes = [_Mistake.of(details, given) for details in error.errors(include_url=False, include_input=False)]
    reasons: dict[str, list[str]] = {}
    for mistake in _of_best_forms(mistakes):
        reasons.setdefault(mistake.path, []).append(mistake.reason)
    errors = [FieldError(path, ", or ".join(dict.fromkeys(texts))) for path, texts in reasons.items()]
    if len(errors) > MAX_NAMED_ERRORS:
        more = FieldError("body", f"has {len(errors) - MAX_NAMED_ERRORS} more wrong fields")
        return [*errors[:MAX_NAMED_ERRORS], more]
    return errors


@dataclass(frozen=True, slots=True)
class _Mistake:
    """One of pydantic's errors. `union`, `form`: where a value may have several forms, and the one that was tried."""

    path: str
    reason: str
    union: str | None = None
    form: str | None = None

    @classmethod
    def of(cls, details: ErrorDetails, given: object) -> Self:
        path: list[str] = []
        union = form = None
        value, may_be_absent = given, details["type"] in ("missing", "refused")
        steps = [step for step in details["loc"] if step != "[key]"]
        for position, step in enumerate(steps, 1):
            if _has(value, step):
                path, value = [*path, str(step)], value[step]  # type: ignore[index]
            elif given is None or (may_be_absent and position == len(steps)):
                path.append(str(step))
            elif union is None:
                union, form = ".".join(path), str(step)
        return cls(".".join(path) or "body", reason_of(details), union, form)


def _has(value: object, step: int | str) -> bool:
    match value:
        case Mapping():
            return step in value
        case list() | tuple():
            return isinstance(step, int) and step < len(value)
        case _:
            return False


def _of_best_forms(mistakes: Sequence[_Mistake]) -> list[_Mistake]:
    """Leave out the forms of a value with more mistakes than another form of it."""
    counts = Counter((mistake.union, mistake.form) for mistake in mistakes if mistake.union is not None)
    fewest: dict[str | None, int] = {}
    for (union, _), count in counts.items():
        fewest[union] = min(count, fewest.get(union, count))
    return [
        mistake
        for mistake in mistakes
        if mistake.union is None or counts[mistake.union, mistake.form] == fewest[mistake.union]
    ]


def storable(text: str) -> str:
    """Refuse text with a NUL, which Postgres cannot store."""
    if "\0" in text:
        raise wrong_field("has a character that cannot be stored (NUL)")
    return text


Storable = Annotated[str, AfterValidator(storable)]
Name = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(storable)]
