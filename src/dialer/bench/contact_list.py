"""Contacts whose numbers are valid and all different, as many as are asked for."""

from collections.abc import Iterator
from itertools import islice

# Each has almost eight million numbers from 200-0001 on.
AREAS = (*range(201, 210), *range(212, 220), *range(301, 311), *range(312, 322))
PIECE = 1_500


def lines(count: int, first: int = 0) -> Iterator[tuple[str, str, str, str]]:
    """Yield phone, name, external_id and plan of contacts. `first`: how many were used before."""
    for row in range(first, first + count):
        yield f"+1{AREAS[row % len(AREAS)]}{2_000_001 + row // len(AREAS)}", f"Contact {row}", f"crm-{row}", "gold"


def csv(count: int, first: int = 0) -> Iterator[bytes]:
    """Yield the contacts as a CSV file, in pieces of about 64 KiB."""
    yield b"phone,name,external_id,plan\n"
    rows = lines(count, first)
    while piece := list(islice(rows, PIECE)):
        yield "".join(f"{','.join(row)}\n" for row in piece).encode()
