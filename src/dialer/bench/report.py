"""Takes figures one after the other, and writes them as tables and as JSON."""

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from dialer.bench import machine, servers
from dialer.bench.api import api
from dialer.bench.bulk import bulk
from dialer.bench.carried import carried
from dialer.bench.claim import claims
from dialer.bench.commands import commands
from dialer.bench.explain import explain
from dialer.bench.figure import Cell, Figure, Row, Size
from dialer.bench.forecast import forecast
from dialer.bench.imports import imports
from dialer.bench.memory import memory
from dialer.bench.rate import rate
from dialer.bench.refill import refill
from dialer.bench.servers import Bench
from dialer.bench.tick import ticks

Take = Callable[[Bench], Figure]
# In the order in which they are taken: those that can share an engine one after the other, memory on a new one.
FIGURES: Mapping[str, Take] = {
    "memory": memory,
    "carried": carried,
    "import": imports,
    "bulk": bulk,
    "api": api,
    "refill": refill,
    "rate": rate,
    "tick": ticks,
    "claim": claims,
    "explain": explain,
    "forecast": forecast,
    "commands": commands,
}


@dataclass(frozen=True, slots=True)
class Report:
    """Figures by name, and what they depend on."""

    machine: Row
    size: Size
    figures: Mapping[str, Figure]

    @property
    def is_clean(self) -> bool:
        """Say whether no audit has found anything."""
        return not any(figure.violations for figure in self.figures.values())

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def take(
    names: Collection[str], size: Size, echo: Callable[[str], None], figures: Mapping[str, Take] = FIGURES
) -> Report:
    """Take those of `figures` that are named. `echo` gets each table as soon as it is known."""
    taken: dict[str, Figure] = {}
    started = time.monotonic()
    with servers.running(size, echo) as bench:
        facts = machine.describe(bench.servers)
        echo("\n".join(f"{name}: {value}" for name, value in facts.items()))
        for name in (name for name in figures if name in names):
            began = time.monotonic()
            taken[name] = figures[name](bench)
            echo(f"\n{title(name, taken[name], time.monotonic() - began)}\n{table(taken[name].rows)}")
        bench.stop()
    echo(f"\ntotal: {time.monotonic() - started:.0f} s")
    return Report(facts, size, taken)


def title(name: str, figure: Figure, seconds: float) -> str:
    audits = {None: "", 0: ", audit clean"}.get(figure.violations, f", AUDIT: {figure.violations} VIOLATIONS")
    return f"{name} ({seconds:.0f} s{audits})"


def table(rows: Sequence[Row]) -> str:
    """Format rows with aligned columns."""
    lines = [list(rows[0]), *([text(cell) for cell in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(_aligned(line, widths)).rstrip() for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    return (cell.rjust(width) for cell, width in zip(line, widths, strict=True))


def text(cell: Cell) -> str:
    """Format one cell of a table."""
    match cell:
        case None:
            return "-"
        case float():
            return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
        case int():
            return f"{cell:,}"
    return cell
