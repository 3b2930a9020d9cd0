"""`dialer bench`: measures this installation on this machine."""

from pathlib import Path
from typing import Annotated

import typer

# The names are repeated here because the figures import all that they measure, which `dialer --help` must not.
NAMES = (
    "memory",
    "carried",
    "import",
    "bulk",
    "api",
    "refill",
    "rate",
    "tick",
    "claim",
    "explain",
    "forecast",
    "commands",
)


def bench(
    figures: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(NAMES)}.  [default: all]")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Try each figure in seconds; the numbers mean little.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="The largest sizes too: millions of contacts.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures into this file.")] = None,
) -> None:
    """Measure Dialer on this machine; about 15 minutes. Exit 1 if an audit finds anything.

    Starts servers of its own in a temporary folder, and uses no others. Nothing else should run on the machine.
    """
    from dialer import log
    from dialer.bench import report
    from dialer.bench.figure import Size
    from dialer.cli.signals import interrupt_on_term

    if unknown := set(figures or ()) - set(NAMES):
        raise typer.BadParameter(f"there is no figure {min(unknown)}; there are {', '.join(NAMES)}")
    interrupt_on_term()
    log.configure("console", "error")
    size = Size.QUICK if quick else Size.FULL if full else Size.USUAL
    taken = report.take(figures or NAMES, size, typer.echo)
    if json_file:
        json_file.write_text(taken.to_json())
    raise typer.Exit(0 if taken.is_clean else 1)
