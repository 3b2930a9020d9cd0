"""Prints resources: a table of several, the fields of one, or JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table


def show_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as a table. A column like `counts.total` shows a nested value."""
    if as_json:
        typer.echo(json.dumps(rows, default=str))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.rpartition(".")[2], overflow="fold")
    for row in rows:
        table.add_row(*(_text(_nested(row, column)) for column in columns))
    Console(highlight=False, width=None if Console().is_terminal else 240).print(table)


def show_one(resource: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the fields of one resource."""
    lines = (f"{name}: {_text(value)}" for name, value in resource.items())
    typer.echo(json.dumps(resource, default=str) if as_json else "\n".join(lines))


def _nested(value: Any, column: str) -> Any:
    for name in column.split("."):
        value = value[name]
    return value


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case dict() | list():
            return json.dumps(value, default=str, ensure_ascii=False)
        case _:
            return str(value)
