"""Things on the terminal: a table of many, the fields of one; or JSON, as it came."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table


def show_table(found: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print many of a kind; a column with dots reads inside."""
    if as_json:
        typer.echo(json.dumps(found, default=str))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.rpartition(".")[2], overflow="fold")
    for one in found:
        table.add_row(*(_text(_inside(one, column)) for column in columns))
    Console(highlight=False, width=None if Console().is_terminal else 240).print(table)


def show_one(one: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the fields of one thing."""
    lines = (f"{name}: {_text(value)}" for name, value in one.items())
    typer.echo(json.dumps(one, default=str) if as_json else "\n".join(lines))


def _inside(one: Any, column: str) -> Any:
    for name in column.split("."):
        one = one[name]
    return one


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case dict() | list():
            return json.dumps(value, default=str, ensure_ascii=False)
        case _:
            return str(value)
