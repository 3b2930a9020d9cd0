"""`python -m chaos 1-200`: play the stories of these seeds; of each that is broken, tell the shortest version."""

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

from chaos.play import Cast, Played, play, shortened
from chaos.story import Story
from dialer import embedded
from dialer.store.database import Database


def main() -> int:
    """Exit 1 if any story is broken."""
    asked, began = _asked(), monotonic()
    first, _, last = asked.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    with ProcessPoolExecutor(min(asked.jobs, len(seeds))) as pool:
        parts = [seeds[n :: asked.jobs] for n in range(min(asked.jobs, len(seeds)))]
        sums = [sum(column) for column in zip(*pool.map(partial(_play, asked), parts), strict=True)]
    broken, touches, faults, calls = sums
    done = f"{touches:,} touches, {faults:,} faults, {calls:,} calls in {monotonic() - began:.0f} s"
    _say(f"{len(seeds):,} stories, {broken} broken; {done}")
    return 1 if broken else 0


def _play(asked: argparse.Namespace, seeds: Iterable[int]) -> tuple[int, int, int, int]:
    """Play the stories of these seeds on servers of their own; count the broken ones, touches, faults and calls."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    broken = touches = faults = calls = 0
    with tempfile.TemporaryDirectory() as folder, embedded.running(Path(folder) / "servers", durable=False) as servers:
        database = Database(servers.database_url)
        database.upgrade()
        database.close()
        cast = Cast(servers.database_url, servers.redis_url)
        for seed in seeds:
            played = play(Story(seed, asked.steps, asked.contacts, frozenset(asked.without), asked.only), cast)
            touches, faults, calls = touches + played.touches, faults + len(played.faults), calls + played.calls
            if asked.tell:
                _say(*played.told)
            if played.broken:
                broken += 1
                _tell(played if asked.raw else list(shortened(played, cast))[-1])
        cast.close()
    return broken, touches, faults, calls


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("seeds", help="one seed, or first-last")
    parser.add_argument("--steps", type=int, default=Story(0).steps, help="after so many the power fails")
    parser.add_argument("--contacts", type=int, help="so many for each batch")
    parser.add_argument("--without", type=_names, default=[], help="kinds of fault that do not happen")
    parser.add_argument("--only", type=_names, help="the names of the only touches that are hit")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="so many stories at once")
    parser.add_argument("--tell", action="store_true", help="tell every story")
    parser.add_argument("--raw", action="store_true", help="do not shorten")
    return parser.parse_args()


def _names(listed: str) -> frozenset[str]:
    return frozenset(filter(None, listed.split(",")))


def _tell(played: Played) -> None:
    story = played.story
    options = [f"{story.seed}", f"--steps {story.steps}"]
    if story.contacts:
        options.append(f"--contacts {story.contacts}")
    if story.without:
        options.append(f"--without '{','.join(sorted(story.without))}'")
    if story.only is not None:
        options.append(f"--only '{','.join(sorted(story.only))}'")
    _say("", f'Seed {story.seed} is broken. Again: make chaos SEEDS="{" ".join(options)} --tell"')
    _say(*(f"    {line}" for line in [*played.told[-40:], *played.broken[:5]]))


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
