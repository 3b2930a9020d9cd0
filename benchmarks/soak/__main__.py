"""Runs an engine under a steady load with faults, and says what grows.

python -m benchmarks.soak [--minutes N] [--seed N] [--json FILE]
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.soak.run import Result, Soak
from dialer import log
from dialer.bench import machine, servers
from dialer.bench.figure import Size
from dialer.bench.report import table
from dialer.cli.signals import interrupt_on_term
from dialer.stop_signals import accept_stop_signals


def main() -> int:
    """Print a verdict on each figure; return 1 if one grows, an audit has found anything, or somebody was lost."""
    accept_stop_signals()
    interrupt_on_term()
    log.configure("console", "error")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the samples and verdicts into this file")
    asked = parser.parse_args()
    with servers.running(Size.USUAL, say) as bench:
        facts = machine.describe(bench.servers)
        say("\n".join(f"{name}: {value}" for name, value in facts.items()))
        result = Soak(bench, 60 * asked.minutes, asked.seed).run()
        bench.stop()
    say(summary(result))
    if asked.json:
        asked.json.write_text(json.dumps({"machine": facts, **asdict(result)}, indent=2) + "\n")
    return 0 if result.is_good else 1


def say(line: str) -> None:
    print(line, flush=True)


def summary(result: Result) -> str:
    """Return the faults, the verdicts and what must be 0."""
    faults = ", ".join(f"{seconds:.0f} s {fault}" for seconds, fault in result.faults)
    return (
        f"\n{len(result.faults)} faults of seed {result.seed}: {faults}\n\n{table(result.verdicts)}\n\n"
        f"audit violations: {result.violations}, rung by mistake: {result.rung_by_mistake}, "
        f"calls without an end: {result.left}"
    )


if __name__ == "__main__":
    sys.exit(main())
