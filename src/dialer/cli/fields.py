"""FIELD=VALUE on the command line: the fields of a resource, by the names that the API has for them."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

FieldValues = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FIELD=VALUE …", help="Fields as the API names them; a value that reads as JSON is JSON, else text."
    ),
]


def fields(given: Sequence[str] | None) -> dict[str, Any]:
    """Read them; wrong usage is refused."""
    read = {}
    for one in given or ():
        name, equals, text = one.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{one} is not FIELD=VALUE", param_hint="FIELD=VALUE")
        read[name] = _value(text)
    return read


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
