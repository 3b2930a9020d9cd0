"""Prints why a batch or a contact is not being called now, and the preview of a batch: at most 80 columns."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from dialer.cli.client import Client
from dialer.errors import DialerError, InvalidInput

WIDTH = 80


def contact_id_of(client: Client, batch_id: str, id_or_number: str) -> str:
    """Find a contact of a batch by its id or its number; raises InvalidInput if there is none."""
    path = f"/batch-calls/{batch_id}/contacts"
    try:
        return str(UUID(id_or_number))
    except ValueError:
        contacts = client.find_by_short_id(path, id_or_number)
    if not contacts:
        try:
            contacts = list(client.all(path, phone_number=id_or_number))
        except DialerError as error:
            if error.code != "invalid_input":
                raise
            reason = f"{id_or_number} is neither an id nor a telephone number as in +12025550123"
            raise InvalidInput.of("contact", reason) from None
    if not contacts:
        raise InvalidInput.of("contact", f"the batch has no contact with the id or number {id_or_number}")
    contact_id: str = contacts[0]["id"]
    return contact_id


def batch_report(explained: Mapping[str, Any]) -> str:
    """Write the explanation of a batch: its summary, a row for each reason, and what is wrong with the engine."""
    reasons = [(reason["code"], f"{reason['count']:,}", _time(reason["next_at"])) for reason in explained["reasons"]]
    return "\n".join(
        [
            *_wrapped(explained["summary"]),
            *_next_call(explained),
            *_table(("reason", "contacts", "first call"), reasons),
            *(f"Engine: {notice['message']}" for notice in explained["engine"]),
        ]
    )


def contact_report(explained: Mapping[str, Any]) -> str:
    """Write the explanation of a contact: its reason, the next call, and a row for each gate that does not pass."""
    reason = explained["reason"]
    closed = [gate for gate in explained["gates"] if not gate["passes"]]
    rows = [(gate["code"], gate["class"], gate["advice"], _time(gate["not_before"])) for gate in closed]
    return "\n".join(
        [
            *_wrapped(f"{explained['verdict'].capitalize()}: {reason['message'] if reason else 'all gates pass'}"),
            *_next_call(explained),
            *_table(("gate", "class", "advice", "not before"), rows),
            f"{len(explained['gates']) - len(closed)} other gates pass",
        ]
    )


def preview_report(preview: Mapping[str, Any]) -> str:
    """Write the preview of a batch: its counts, the first call, and what stands in the way of the start."""
    never = [(f"never: {row['code']}", f"{row['count']:,}", "") for row in preview["never"]]
    rows = [
        ("will be called", f"{preview['callable']:,}", _time(preview["first_call_at"])),
        *never,
        ("too late, at least", f"{preview['too_late']:,}", ""),
        ("total", f"{preview['total']:,}", ""),
    ]
    problems = [f"Not ready, {problem['code']}: {problem['message']}" for problem in preview["problems"]]
    wrapped = [line for problem in problems for line in _wrapped(problem)]
    return "\n".join([*_table(("contacts", "number", "first call"), rows), *(wrapped or ["Ready to be scheduled"])])


def _next_call(explained: Mapping[str, Any]) -> Iterator[str]:
    if explained["next_at"]:
        yield f"Next call: {_time(explained['next_at'])} ({explained['next_at_certainty']})"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    lines = [header, *rows]
    if len(lines) == 1:
        return
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    yield ""
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    yield ""


def _time(at: str | None) -> str:
    """Write a time of the API, which is in UTC, without fractions of a second."""
    return f"{at[:10]} {at[11:19]} UTC" if at else ""
