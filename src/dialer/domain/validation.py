"""Fields that people write: types that several things have, and pydantic's errors as our `FieldError`s."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from dialer.domain.field_reasons import reason_of
from dialer.errors import FieldError

MAX_ERRORS = 10_000
MAX_NAMED_ERRORS = 100


def wrong_field(reason: str) -> PydanticCustomError:
    """Make the error that a validator raises. `reason` completes a sentence that begins with the field's name."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def field_errors(error: ValidationError, given: object = None, known: Collection[str] = ()) -> list[FieldError]:
    """Name the first 100 wrong fields, each by its path in what was given, with the reason.

    `given`: what was validated. Where a field may have one of several forms, the form that fits best is reported.
    `known`: the names of the fields, one of which may have been meant by a name that is none of them. Values are never
    repeated: one may be a misplaced secret.
    """
    count = error.error_count()
    if count > MAX_ERRORS:
        # To convert so many takes longer than a client may wait, and more memory than a process should use.
        return [FieldError("body", f"has {count} wrong values, which are too many to name")]
    mistakes = [_Mistake.of(details, given, known) for details in error.errors(include_url=False, include_input=False)]
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
    def of(cls, details: ErrorDetails, given: object, known: Collection[str]) -> Self:
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
        names = known if len(steps) == 1 else ()
        reason = reason_of(
            details["type"], details.get("ctx", {}), details["msg"], str(steps[-1:] and steps[-1]), names
        )
        return cls(".".join(path) or "body", reason, union, form)


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
