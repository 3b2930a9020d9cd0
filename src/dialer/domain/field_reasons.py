"""The reasons why a field is wrong, in plain words: pydantic's error goes in, a clause without its subject comes out.

A reason completes a sentence that begins with the field's name, as in "max_concurrent_calls must be at most 100". It
never repeats the value, which may be a misplaced secret.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

MAX_COMPARED = 100
SIMILARITY = 0.55  #: So that `phone_number` is suggested for `phone`.
_REASONS = {
    "missing": "is required",
    "extra_forbidden": "is no field here",
    "none_required": "must be null",
    "greater_than": "must be more than {gt:,}",
    "greater_than_equal": "must be at least {ge:,}",
    "less_than": "must be less than {lt:,}",
    "less_than_equal": "must be at most {le:,}",
    "finite_number": "must be a finite number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number with fewer digits",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "string_unicode": "must be text in UTF-8",
    "invalid_key": "must have text as its keys",
}
# Types that pydantic reports as int_type, int_parsing, uuid_parsing and so on.
_TYPES = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "dict": "an object",
    "mapping": "an object",
    "model": "an object",
    "uuid": "a UUID",
    "datetime": "a time in ISO 8601, as in 2030-01-31T18:00+01:00",
    "date": "written as in 2030-01-31",
    "url": "a URL",
}


def reason_of(kind: str, message: str, facts: Mapping[str, Any]) -> str:
    """Put one of pydantic's errors into words: its `type`, its `msg` and its `ctx`."""
    if template := _REASONS.get(kind):
        return template.format_map({name: _plain(value) for name, value in facts.items()})
    what, _, problem = kind.partition("_")
    if problem.endswith(("short", "long")):
        return _length(kind, facts)
    if what in _TYPES and problem != "custom":
        return f"must be {_TYPES[what]}"
    return message[:1].lower() + message[1:]


def _plain(value: Any) -> Any:
    """Return a bound without decimals where it has none, and the words of a closed list without quotes."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.replace("'", "") if isinstance(value, str) else value


def _length(kind: str, facts: Mapping[str, Any]) -> str:
    if facts.get("min_length") == 1:
        return "must not be empty"
    bound, length = ("least", facts["min_length"]) if kind.endswith("short") else ("most", facts["max_length"])
    is_list = facts.get("field_type") in ("List", "Tuple", "Set", "Dictionary")
    one, many = ("entry", "entries") if is_list else ("character", "characters")
    return f"must have at {bound} {length:,} {one if length == 1 else many}"


def unknown_field(model: type[BaseModel] | None, path: Sequence[str | int]) -> str:
    """Say that the last step of a path is no field of the object there, and which field has a similar name.

    `model`: that of the whole input; None: not known.
    """
    models = _models_at(model, path[:-1]) if model else ()
    noun = _noun(models[0]) if len(models) == 1 else None
    names = sorted({name for form in models for name in form.model_fields})
    close = get_close_matches(str(path[-1])[:MAX_COMPARED], names, 1, SIMILARITY)
    return f"is no field {f'of {noun}' if noun else 'here'}{f'; did you mean {close[0]}?' if close else ''}"


def _noun(model: type[BaseModel]) -> str | None:
    """Name what a model creates or changes: NewAgent creates "an agent". None: its name does not say."""
    match = re.fullmatch(r"(?:New|Changed)(\w+)|(\w+)Fields", model.__name__)
    if match is None:
        return None
    noun = " ".join(re.findall("[A-Z][a-z]*", match[match.lastindex or 0])).lower()
    return noun if noun.endswith("s") else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def impossible_day(text: str) -> str | None:
    """Say that the day with which a text begins does not exist, as in 2026-02-30; None: it does, or there is none."""
    match = re.match(r"\d{4}-\d\d-\d\d", text, re.ASCII)
    try:
        _ = match and date.fromisoformat(match[0])
    except ValueError:
        return f"{text[:10]} does not exist"
    return None


def _models_at(model: type[BaseModel], path: Sequence[str | int]) -> Sequence[type[BaseModel]]:
    """Find the models that the object at a path may have. A step into a list or a dictionary leads to its entries."""
    models: Sequence[type[BaseModel]] = (model,)
    for step in path:
        fields = [form.model_fields[step].annotation for form in models if step in form.model_fields]
        models = [form for field in fields for form in _models_in(field)] if fields else models
    return models


def _models_in(annotation: Any) -> Sequence[type[BaseModel]]:
    """Find the models in an annotation, such as `list[Contact] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return [model for part in get_args(annotation) for model in _models_in(part)]
