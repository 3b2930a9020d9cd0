"""Takes figures one after the other, and writes them as tables and as JSON."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from dialer.bench import machine, servers
from dialer.bench.carried import carried
from dialer.bench.figure import Cell, Figure, Row, Size
from dialer.bench.servers import Bench

Take = Callable[[Bench], Figure]
FIGURES: Mapping[str, Take] = {"carried": carried}


def take(
    names: Sequence[str], size: Size, echo: Callable[[str], None], figures: Mapping[str, Take] = FIGURES
) -> dict[str, object]:
    """Take these figures and return them as JSON. `echo` gets each table as soon as it is known."""
    with servers.running(size, echo) as bench:
        facts, taken = machine.describe(bench.servers), {}
        echo("\n".join(f"{name}: {value}" for name, value in facts.items()))
        for name in names:
            began = time.monotonic()
            figure = figures[name](bench)
            seconds = round(time.monotonic() - began, 1)
            taken[name] = {"seconds": seconds, "audit_violations": figure.violations, "rows": figure.rows}
            echo(f"\n{title(name, figure, seconds)}\n{table(figure.rows)}")
        bench.stop()
    return {"machine": facts, "size": size, "figures": taken}


def is_clean(report: Mapping[str, object]) -> bool:
    """Return whether no audit has found anything."""
    figures = json.loads(json.dumps(report))["figures"]
    return not any(figure["audit_violations"] for figure in figures.values())


def title(name: str, figure: Figure, seconds: float) -> str:
    audits = {None: "", 0: ", audit clean"}.get(figure.violations, f", AUDIT: {figure.violations} VIOLATIONS")
    return f"{name} ({seconds:.0f} s{audits})"


def table(rows: Sequence[Row]) -> str:
    """Format rows with aligned columns."""
    lines = [list(rows[0]), *([_text(cell) for cell in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(_aligned(line, widths)).rstrip() for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    return (cell.rjust(width) for cell, width in zip(line, widths, strict=True))


def _text(cell: Cell) -> str:
    match cell:
        case None:
            return "-"
        case float():
            return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
        case int():
            return f"{cell:,}"
    return cell
