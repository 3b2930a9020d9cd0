"""`/docs`: the OpenAPI document as an HTML page, without scripts and without files of other hosts."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
code, pre { font-family: ui-monospace, monospace; background: #f4f4f4 }
h2 { border-bottom: 1px solid #ccc; margin-top: 3rem }
h3 { margin: 2rem 0 .5rem } h3 code { font-size: 1rem }
table { border-collapse: collapse; width: 100% }
td, th { border: 1px solid #ddd; padding: .2rem .6rem; text-align: left }
pre { padding: .6rem; overflow-x: auto }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'"
_REF = "#/components/schemas/"


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """Show the document."""
    return HTMLResponse(page(request.app.openapi()), headers={"Content-Security-Policy": POLICY})


def page(document: Mapping[str, Any]) -> str:
    """Write an OpenAPI document as HTML."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Dialer</title><style>{_STYLE}</style><h1>The HTTP API of Dialer</h1>",
        f"<p>{_text(document['info']['description'])}<p>For programs: <a href=/openapi.json>/openapi.json</a>.",
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2><p>{_text(tag['description'])}")
        parts += _operations(document["paths"], tag["name"])
    parts.append("<h2>Schemas</h2>")
    parts += (_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items()))
    return "\n".join(parts)


def _operations(paths: Mapping[str, Any], tag: str) -> Iterator[str]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield _operation(path, method, operation)


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parameters = [
        (f"{field['name']} ({field['in']})", _type(field["schema"]), field["required"], field.get("description", ""))
        for field in operation.get("parameters", [])
    ]
    body = [
        f"<p>Body, <code>{escape(media_type)}</code>: {_type(content['schema'])}"
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items()
    ]
    responses = [
        (status, ", ".join(_type(body["schema"]) for body in response.get("content", {}).values() if "schema" in body),
         response["description"])
        for status, response in operation["responses"].items()
    ]  # fmt: skip
    return "".join(
        [
            f"<h3 id={operation['operationId']}><code>{method.upper()} {escape(path)}</code></h3>",
            f"<p>{_text(operation.get('description', ''))}",
            _table(("Parameter", "Type", "Required", "Meaning"), parameters),
            *body,
            _table(("Status", "Body", "Meaning"), responses),
        ]
    )


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", [])
    fields = [
        (name, _type(field), name in required, f"{field.get('description', '')} {_default(field)}".strip())
        for name, field in schema.get("properties", {}).items()
    ]
    values = ", ".join(f"<code>{escape(str(value))}</code>" for value in schema.get("enum", []))
    example = schema.get("example")
    shown = f"<pre>{escape(json.dumps(example, indent=2))}</pre>" if example else ""
    table = _table(("Field", "Type", "Required", "Meaning"), fields)
    return (
        f"<h3 id='{escape(name)}'>{escape(name)}</h3><p>{_text(schema.get('description', ''))} {values}{table}{shown}"
    )


def _default(schema: Mapping[str, Any]) -> str:
    return f"default `{json.dumps(schema['default'])}`" if "default" in schema else ""


def _type(schema: Mapping[str, Any]) -> str:
    """Write the type of a schema as HTML, with a link to its description."""
    if ref := schema.get("$ref"):
        name = escape(ref.removeprefix(_REF))
        return f"<a href='#{name}'>{name}</a>"
    for key in ("anyOf", "allOf", "oneOf"):
        if key in schema:
            return " or ".join(map(_type, schema[key]))
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    return escape(" ".join(str(schema[key]) for key in ("type", "format", "pattern") if key in schema))


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    """Write a table. The cells of the second column are HTML already."""
    if not rows:
        return ""
    lines = [
        "".join(f"<td>{cell if index == 1 else _text(_cell(cell))}" for index, cell in enumerate(row)) for row in rows
    ]
    return (
        "<table><tr>" + "".join(f"<th>{name}" for name in head) + "".join(f"<tr>{line}" for line in lines) + "</table>"
    )


def _cell(cell: object) -> str:
    match cell:
        case bool():
            return "yes" if cell else ""
        case _:
            return str(cell)


def _text(text: str) -> str:
    """Escape text; what is between backticks becomes code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
