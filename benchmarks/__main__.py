"""Takes the figures of `dialer bench`, and those that compare Dialer with other ways.

python -m benchmarks [FIGURE …] [--quick | --full] [--json FILE]
"""

import argparse
import sys
from pathlib import Path

from benchmarks.beside import beside
from benchmarks.faults import faults
from benchmarks.limits import limits
from dialer import log
from dialer.bench import report
from dialer.bench.figure import Size
from dialer.cli.signals import interrupt_on_term
from dialer.stop_signals import accept_stop_signals


def main() -> int:
    """Print the figures; return 1 if an audit has found anything."""
    accept_stop_signals()
    interrupt_on_term()
    log.configure("console", "error")
    figures = {**report.FIGURES, "beside": beside, "limits": limits, "faults": faults}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=", ".join(figures))
    parser.add_argument("--quick", dest="size", action="store_const", const=Size.QUICK, default=Size.USUAL)
    parser.add_argument("--full", dest="size", action="store_const", const=Size.FULL)
    parser.add_argument("--json", type=Path, help="also write the figures into this file")
    asked = parser.parse_args()
    if unknown := set(asked.figures) - set(figures):
        parser.error(f"there is no figure {min(unknown)}; there are {', '.join(figures)}")
    taken = report.take(asked.figures or list(figures), asked.size, print, figures)
    if asked.json:
        asked.json.write_text(taken.to_json())
    return 0 if taken.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
