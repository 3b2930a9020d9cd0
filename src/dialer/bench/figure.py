"""What a figure returns, and the sizes in which it is taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

Cell = str | float | None
Row = Mapping[str, Cell]


class Size(StrEnum):
    """How much work a figure does."""

    QUICK = "quick"  #: Seconds for each figure. Shows that it works; the numbers mean little.
    USUAL = "usual"  #: All figures in less than 15 minutes.
    FULL = "full"  #: The largest stores: millions of contacts.


@dataclass(frozen=True, slots=True)
class Figure:
    """The rows of one figure; all have the same columns. `violations`: of the audit; None: nothing was called."""

    rows: Sequence[Row]
    violations: int | None = None


def medians(rows: Sequence[Row]) -> Row:
    """Return the median of each column over repeats of the same work; text is the same in all of them."""
    return {name: _median([row[name] for row in rows]) for name in rows[0]}


def _median(cells: Sequence[Cell]) -> Cell:
    numbers = [cell for cell in cells if isinstance(cell, int | float)]
    return median(numbers) if len(numbers) == len(cells) else cells[0]
