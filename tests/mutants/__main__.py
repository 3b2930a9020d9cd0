"""`python -m mutants [WORD ...]`: run all mutants, or those whose ids hold a word; say which the tests noticed.

Each worker has a copy of the source and servers of its own. A mutant is killed when one of its tests fails that passes
without it. Exit 1: fewer than 95 % are killed, a survivor is not explained in the list, or a mutant is broken.
"""

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import chain
from multiprocessing import active_children, get_context
from pathlib import Path
from time import monotonic

import pytest

from dialer import embedded
from dialer.embedded import Servers
from dialer.store.database import Database, run
from mutants.mutant import ROOT, Mutant, load

KILLED, SURVIVED, BROKEN = "killed", "survived", "broken"
LEAST_KILLED = 0.95
# Of the tests of one mutant together, which must be much faster: what takes so long hangs, and that is noticed, too.
DEADLINE_SECONDS = 240
TEST_SECONDS = 60
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", ".coverage*", "build", "*.egg-info")
# The same examples each time; what is named is run, also where `pytest` by itself would leave it out.
PYTEST = ("-q", "--tb=short", "-rfE", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-m", "not slow",
          f"--timeout={TEST_SECONDS}", "-W", "ignore::pytest.PytestAssertRewriteWarning")  # fmt: skip
# What most tests import, and takes longer than most of them: imported once, before the fork.
IMPORTED_ONCE = ("alembic.command", "fakeredis", "fastapi.testclient", "httpx2", "hypothesis", "kombu", "limits",
                 "phonenumbers", "pydantic_settings", "sqlalchemy", "twilio.rest", "uvicorn")  # fmt: skip
OURS = (ROOT / "src", ROOT / "tests")
# What cannot run at all is no small fault, and that a test fails on it says nothing.
CANNOT_RUN = re.compile(
    r"\b(?:psycopg\.errors\.(?:SyntaxError|UndefinedColumn|UndefinedFunction|Ambiguous\w+)"
    r"|NameError|UnboundLocalError|ImportError|ModuleNotFoundError)\b"
)


@dataclass(frozen=True, slots=True)
class Result:
    """`told`: the test that failed, or what is wrong with the mutant."""

    mutant: Mutant
    verdict: str
    told: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Tree:
    """A copy of the source that may be changed, and the servers that its tests use."""

    root: Path
    servers: Servers

    def pytest(self, tests: Sequence[str], *options: str, seconds: float) -> tuple[int | None, str]:
        """Run these tests; return the exit code of pytest, None where it did not end in time, and what it printed."""
        arguments = [*PYTEST, *options, *(f"tests/{test}" for test in tests)]
        run = get_context("fork").Process(target=self._become_pytest, args=(arguments,))
        run.start()
        try:
            run.join(seconds)
            code = run.exitcode
        finally:
            if run.pid is not None and run.is_alive():
                # With the processes that its tests have started.
                os.killpg(run.pid, signal.SIGKILL)
                run.join()
        return code, self._printed.read_text("utf-8", "replace")

    @property
    def _printed(self) -> Path:
        return self.root.with_name("printed")

    def _become_pytest(self, arguments: list[str]) -> None:
        """Run pytest in this process, a fork that has imported what takes long, and the source only of this tree."""
        os.setsid()
        with self._printed.open("wb") as printed:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
        os.chdir(self.root)
        os.environ |= {
            "PYTHONPATH": str(self.root / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DIALER_TEST_DATABASE_URL": self.servers.database_url,
            "DIALER_TEST_REDIS_URL": self.servers.redis_url,
        }
        # No .pyc is written, so that none of a mutant is ever taken for that of its file.
        sys.dont_write_bytecode = True
        sys.path[:] = [str(self.root / "src"), *(path for path in sys.path if Path(path) not in OURS)]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("dialer", "mutants")]:
            del sys.modules[name]
        sys.exit(pytest.main(arguments))


def main() -> int:
    """Run the mutants on all cores and print what became of each."""
    asked, began = _asked(), monotonic()
    chosen = [one for one in load() if not asked.words or any(word in one.id for word in asked.words)]
    if not chosen:
        _say("no mutant is called so")
        return 1
    jobs = min(asked.jobs, len(chosen))
    # Also where SIGINT was ignored by whoever started this; workers inherit it, and clean up behind them.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    with ProcessPoolExecutor(jobs) as pool:
        try:
            results = list(chain(*pool.map(_work, [chosen[n::jobs] for n in range(jobs)])))
        except KeyboardInterrupt:
            for worker in active_children():
                worker.terminate()
            return 130
    _say(*(f"{one.mutant.id}: {one.told}" for one in results if one.verdict == BROKEN))
    return _summed_up(results, monotonic() - began)


def _summed_up(results: Sequence[Result], seconds: float) -> int:
    """Print the last line, and return the exit code."""
    killed, survived = ([one for one in results if one.verdict == verdict] for verdict in (KILLED, SURVIVED))
    explained = [one for one in survived if one.mutant.survives]
    share = len(killed) / len(results)
    _say(f"{len(results)} mutants, {len(killed)} killed ({share:.1%}), {len(survived)} survived, "
         f"explained: {len(explained)}, in {seconds:.0f} s")  # fmt: skip
    is_good = share >= LEAST_KILLED and len(explained) == len(survived) and len(killed) + len(survived) == len(results)
    return 0 if is_good else 1


def _work(mutants: Sequence[Mutant]) -> list[Result]:
    """Run these mutants one after the other; a test that fails also without its mutant makes that one broken."""
    for module in IMPORTED_ONCE:
        import_module(module)
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        embedded.running(Path(folder) / "servers", durable=False) as servers,
    ):
        _watch_clients(servers)
        tree = Tree(Path(folder) / "tree", servers)
        shutil.copytree(ROOT, tree.root, ignore=NOT_COPIED)
        results = [_run(mutant, tree) for mutant in mutants]
        return _checked(results, tree)


def _watch_clients(servers: Servers) -> None:
    """Let Postgres break off the statement of a client that is gone: a mutant may have left it waiting for ever."""
    database = Database(servers.database_url)
    with database.begin() as connection:
        run(connection, "ALTER DATABASE dialer SET client_connection_check_interval = '500ms'")
    database.close()


def _run(mutant: Mutant, tree: Tree) -> Result:
    """Put one mutant into the tree, run its tests, and take it out again."""
    began, path = monotonic(), mutant.path(tree.root)
    original = path.read_text("utf-8")
    try:
        path.write_text(mutant.mutated(original), "utf-8")
        verdict, told = _judged(*tree.pytest(mutant.tests, "-x", seconds=DEADLINE_SECONDS))
    except ValueError as error:
        verdict, told = BROKEN, str(error)
    finally:
        path.write_text(original, "utf-8")
    if verdict == KILLED and mutant.survives:
        verdict, told = BROKEN, f"it is explained why it survives, and {told} notices it"
    result = Result(mutant, verdict, told, monotonic() - began)
    _say(f"{verdict:8}  {mutant.id:50}  {result.seconds:5.1f} s  {told if verdict == KILLED else mutant.breaks}")
    return result


def _judged(code: int | None, printed: str) -> tuple[str, str]:
    if code is None:
        return KILLED, f"nothing ended within {DEADLINE_SECONDS} s"
    if code == 0:
        return SURVIVED, ""
    failed = re.search(r"^(FAILED|ERROR) (\S+?)(?:\[| |$)", printed, re.MULTILINE)
    # A fixture may notice it, too; but one that cannot even make what the test needs has noticed nothing.
    is_noticed = failed is not None and (failed[1] == "FAILED" or "E   AssertionError" in printed)
    if code != 1 or failed is None or not is_noticed or CANNOT_RUN.search(printed):
        return BROKEN, f"its tests cannot be run (pytest: {code}):\n{printed[-3000:]}"
    return KILLED, failed[2]


def _checked(results: Sequence[Result], tree: Tree) -> list[Result]:
    """Run the tests that have killed once more, without any mutant: what fails then has killed nothing."""
    killers = sorted({one.told.removeprefix("tests/") for one in results if one.told.startswith("tests/")})
    if not killers:
        return list(results)
    code, printed = tree.pytest(killers, seconds=DEADLINE_SECONDS + TEST_SECONDS * len(killers))
    if code == 0:
        return list(results)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+?)(?:\[| |$)", printed, re.MULTILINE)
    _say(f"without any mutant (pytest: {code}):", printed[-3000:])
    return [replace(one, verdict=BROKEN, told=f"{one.told} fails also without it") if one.told in failed else one
            for one in results]  # fmt: skip


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="parts of ids; none: all mutants")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="so many at once")
    return parser.parse_args()


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
