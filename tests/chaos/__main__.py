"""`python -m chaos 1-200`: run the scenarios of these seeds, and print a short version of each broken one."""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic

import structlog

from chaos.harness import Harness
from chaos.runner import ScenarioResult, run_scenario
from chaos.scenario import Scenario
from chaos.shrinking import shrink
from dialer import embedded
from dialer.store.database import Database


def main() -> int:
    """Run all scenarios; return 1 if any of them breaks a promise."""
    options, began_at = _options(), monotonic()
    first, _, last = options.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    with ProcessPoolExecutor(min(options.jobs, len(seeds))) as pool:
        parts = [seeds[n :: options.jobs] for n in range(min(options.jobs, len(seeds)))]
        sums = [sum(column) for column in zip(*pool.map(partial(_run_seeds, options), parts), strict=True)]
    broken, points, faults, calls = sums
    done = f"{points:,} fault points, {faults:,} faults, {calls:,} calls in {monotonic() - began_at:.0f} s"
    _print(f"{len(seeds):,} scenarios, {broken} broken; {done}")
    return 1 if broken else 0


def _run_seeds(options: argparse.Namespace, seeds: Iterable[int]) -> tuple[int, int, int, int]:
    """Run these seeds on their own servers; count broken scenarios, fault points, injected faults and calls."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    broken = points = faults = calls = 0
    with tempfile.TemporaryDirectory() as folder, embedded.running(Path(folder) / "servers", durable=False) as servers:
        database = Database(servers.database_url)
        database.upgrade()
        database.close()
        harness = Harness(servers.database_url, servers.redis_url)
        for seed in seeds:
            result = run_scenario(
                Scenario(seed, options.steps, options.contacts, frozenset(options.without), options.only), harness
            )
            points, faults, calls = points + result.points, faults + len(result.faults), calls + result.calls
            if options.print_log:
                _print(*result.log)
            if result.violations:
                broken += 1
                _print_broken(result if options.no_shrink else list(shrink(result, harness))[-1])
        harness.close()
    return broken, points, faults, calls


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("seeds", help="one seed, or first-last")
    parser.add_argument("--steps", type=int, default=Scenario(0).steps, help="kill all processes after so many steps")
    parser.add_argument("--contacts", type=int, help="contacts of each batch")
    parser.add_argument("--without", type=_names, default=[], help="fault kinds that are not injected, comma-separated")
    parser.add_argument("--only", type=_names, help="inject faults only at the fault points with these names")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="scenarios that run in parallel")
    parser.add_argument("--print-log", action="store_true", help="print the log of every scenario")
    parser.add_argument(
        "--no-shrink", action="store_true", help="print broken scenarios as they are, not a shorter version"
    )
    return parser.parse_args()


def _names(listed: str) -> frozenset[str]:
    return frozenset(filter(None, listed.split(",")))


def _print_broken(result: ScenarioResult) -> None:
    scenario = result.scenario
    arguments = [f"{scenario.seed}", f"--steps {scenario.steps}"]
    if scenario.contacts:
        arguments.append(f"--contacts {scenario.contacts}")
    if scenario.without:
        arguments.append(f"--without '{','.join(sorted(scenario.without))}'")
    if scenario.only is not None:
        arguments.append(f"--only '{','.join(sorted(scenario.only))}'")
    _print("", f'Seed {scenario.seed} is broken. Run it again: make chaos SEEDS="{" ".join(arguments)} --print-log"')
    _print(*(f"    {line}" for line in [*result.log[-40:], *result.violations[:5]]))


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
