"""Pydantic's errors in our own words: a clause that begins after the name of the field."""

from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any

NUMBER, WHOLE, TEXT, TRUTH = "must be a number", "must be a whole number", "must be text", "must be true or false"
_PLAIN = {
    "missing": "is required",
    "int_parsing": WHOLE,
    "int_type": WHOLE,
    "int_from_float": WHOLE,
    "int_parsing_size": "is too large",
    "float_parsing": NUMBER,
    "float_type": NUMBER,
    "finite_number": "must be a finite number",
    "string_type": TEXT,
    "bool_parsing": TRUTH,
    "bool_type": TRUTH,
    "uuid_parsing": "must be an id, a UUID",
    "uuid_type": "must be an id, a UUID",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
_WITH_BOUND: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda bound: f"must be at least {bound['ge']}",
    "greater_than": lambda bound: f"must be more than {bound['gt']}",
    "less_than_equal": lambda bound: f"must be at most {bound['le']}",
    "less_than": lambda bound: f"must be less than {bound['lt']}",
    "string_too_short": lambda bound: _at_least(bound["min_length"], "character"),
    "string_too_long": lambda bound: _at_most(bound["max_length"], "character"),
    "too_short": lambda bound: _at_least(bound["min_length"], "entry", "entries"),
    "too_long": lambda bound: _at_most(bound["max_length"], "entry", "entries"),
    "literal_error": lambda bound: f"must be {bound['expected']}".replace("'", ""),
    "enum": lambda bound: f"must be {bound['expected']}".replace("'", ""),
}


def reason_of(kind: str, bound: Mapping[str, Any], message: str, field: str, known: Collection[str] = ()) -> str:
    """Say what is wrong with a field.

    `kind`, `bound`, `message`: pydantic's error. `known`: the fields that there are, for a name that is none of them.
    """
    if kind == "extra_forbidden":
        close = get_close_matches(field, known, n=1)
        return f"is no field{f'; did you mean {close[0]}?' if close else ''}"
    if kind in _WITH_BOUND:
        return _WITH_BOUND[kind](bound)
    return _PLAIN.get(kind) or message[0].lower() + message[1:]


def _at_least(count: int, one: str, several: str | None = None) -> str:
    return "must not be empty" if count == 1 else f"must have at least {count} {several or one + 's'}"


def _at_most(count: int, one: str, several: str | None = None) -> str:
    return f"must have at most {count} {one if count == 1 else several or one + 's'}"
