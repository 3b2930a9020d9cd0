"""Options and arguments that several commands share, among them FIELD=VALUE by the names that the API has."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

DataDir = Annotated[Path | None, typer.Option(help="The folder of a running `dialer up`.  [default: .dialer]")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Speed = Annotated[float, typer.Option(help="How much faster than life the simulated network runs.", min=0.1)]
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
