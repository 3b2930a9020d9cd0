"""Lists as parameters of statements."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pendulum import UTC
from psycopg.adapt import Dumper


class ArrayDumper(Dumper):
    """Sends a list as an array literal without a type: the statement gives it, as in `CAST(:ids AS uuid[])`.

    Faster than the driver's own dumper, which dumps and searches each item by itself, and a list with only NULLs is
    sent like all others, so that one prepared statement serves both.
    """

    def dump(self, obj: list[Any]) -> bytes:
        return f"{{{','.join(map(_array_item, obj))}}}".encode()


def _array_item(item: Any) -> str:
    match item:
        case None:
            return "NULL"
        case str():
            escaped = item.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case UUID():
            return item.hex
        case datetime() if item.tzinfo is UTC:
            # isoformat() would ask the zone for its offset, which takes longer than everything else here.
            return (
                f"{item.year:04}-{item.month:02}-{item.day:02} "
                f"{item.hour:02}:{item.minute:02}:{item.second:02}.{item.microsecond:06}+00"
            )
        case _:
            return str(item)
