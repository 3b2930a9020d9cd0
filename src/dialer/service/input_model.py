"""The base class of all input models.

All fields are validated at once. Unknown fields are refused, so that a typo is not silently ignored. Values from the
command line are parsed leniently ("10" is a number), JSON strictly.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

from pendulum import DateTime
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from dialer.domain.validation import field_errors
from dialer.errors import InvalidInput, UnreadableBody

MAX_KEY_SHOWN = 100
# A word of the parser's message -> what is wrong with a body that is JSON and cannot be read all the same.
_NOT_JSON = {
    "recursion": "is nested too deeply",
    "hex escape": "has half of a surrogate pair",
    "out of range": "has a number with too many digits",
}


class InputModel(BaseModel):
    """The fields of something to be created or changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, fields: Mapping[str, Any], now: DateTime) -> Self:
        """Validate the fields of a command line.

        Args:
            fields: the values by name; text is converted.
            now: times that must lie ahead are compared with it.

        Returns:
            The model.

        Raises:
            InvalidInput: names every wrong field.
        """
        try:
            return cls.model_validate(fields, context=now)
        except ValidationError as error:
            raise InvalidInput(field_errors(error, fields, cls)) from None

    @classmethod
    def read_json(cls, body: bytes, now: DateTime, defaults: Mapping[str, Any] | None = None) -> Self:
        """Validate a JSON object.

        Args:
            body: the JSON text.
            now: times that must lie ahead are compared with it.
            defaults: the values of fields that are absent, in place of those of the model.

        Returns:
            The model.

        Raises:
            UnreadableBody: the body is not JSON.
            InvalidInput: names every wrong field, or a key that an object has twice.
        """
        given = _parsed(body)
        if defaults and isinstance(given, dict):
            body = json.dumps({**defaults, **given}).encode()
        try:
            return cls.model_validate_json(body, strict=True, context=now)
        except ValidationError as error:
            raise InvalidInput(field_errors(error, given, cls)) from None


def _parsed(body: bytes) -> Any:
    """Parse JSON as pydantic does, which is stricter than Python, and refuse what only Python would read."""
    try:
        from_json(body)
    except ValueError as error:
        position = re.search(r"line \d+ column \d+$", str(error))
        what = next((words for sign, words in _NOT_JSON.items() if sign in str(error)), "is not JSON")
        raise UnreadableBody.of("body", f"{what}{f': {position[0]}' if position else ''}") from None
    return json.loads(body, object_pairs_hook=_with_each_key_once)


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidInput.of(name[:MAX_KEY_SHOWN], "is given more than once in one object")
    return fields


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema.get("properties", {}).values():
        field.pop("default", None)


class Changes(InputModel):
    """The fields of a change. An absent field stays as it is; the defaults here mean nothing."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)
