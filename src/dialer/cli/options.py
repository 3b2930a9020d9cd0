"""Options and arguments that several commands share, among them FIELD=VALUE with the field names of the API."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

DataDir = Annotated[Path | None, typer.Option(help="The folder of a running `dialer up`.  [default: .dialer]")]
Limit = Annotated[int, typer.Option(help="How many at most.", min=1)]
Sort = Annotated[str | None, typer.Option(help="In this order, as in created_at; -created_at is the other way round.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Speed = Annotated[float, typer.Option(help="How much faster than real time the simulated network runs.", min=0.1)]
FieldValues = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FIELD=VALUE …", help="Fields of the API; a value that is valid JSON is parsed, else it is text."
    ),
]

# Fields whose values may look like JSON, and are text all the same.
TEXTS = ("phone_number", "name", "external_id", "reason")


def parse_fields(arguments: Sequence[str] | None) -> dict[str, Any]:
    """Parse FIELD=VALUE arguments; raises BadParameter for any other."""
    fields = {}
    for argument in arguments or ():
        name, equals, text = argument.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{argument} is not FIELD=VALUE", param_hint="FIELD=VALUE")
        fields[name] = text if name in TEXTS and text != "null" else _value(text)
    return fields


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
