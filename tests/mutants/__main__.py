"""`python -m mutants [WORD ...]`: run all mutants, or those whose id contains a word; print which were killed.

Each worker has its own copy of the source and its own servers. A mutant is killed when one of its tests fails that
passes without it. Exit code 1: fewer than 95 % are killed, a survivor has no explanation, or a mutant is broken.
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
# For all tests of one mutant, which are much faster: a mutant that makes them hang counts as killed.
DEADLINE_SECONDS = 240
TEST_SECONDS = 60
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", ".coverage*", "build", "*.egg-info")
# Always the same hypothesis examples. Tests that a mutant names are run even when a plain `pytest` leaves them out.
PYTEST = ("-q", "--tb=short", "-rfE", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-m", "not slow",
          f"--timeout={TEST_SECONDS}", "-W", "ignore::pytest.PytestAssertRewriteWarning")  # fmt: skip
# Slow imports of most tests, done once before the fork.
IMPORTED_ONCE = ("alembic.command", "fakeredis", "fastapi.testclient", "httpx2", "hypothesis", "kombu", "limits",
                 "phonenumbers", "sqlalchemy", "uvicorn")  # fmt: skip
OURS = (ROOT / "src", ROOT / "tests")
# With these errors the mutant is broken: the code does not run at all, so a failing test proves nothing.
CANNOT_RUN = re.compile(
    r"\b(?:psycopg\.errors\.(?:SyntaxError|UndefinedColumn|UndefinedFunction|Ambiguous\w+)"
    r"|NameError|UnboundLocalError|ImportError|ModuleNotFoundError)\b"
)


@dataclass(frozen=True, slots=True)
class Result:
    """`detail`: the test that failed, or why the mutant is broken."""

    mutant: Mutant
    verdict: str
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Tree:
    """A copy of the source that is changed, and the servers that its tests use."""

    root: Path
    servers: Servers

    def pytest(self, tests: Sequence[str], *options: str, seconds: float) -> tuple[int | None, str]:
        """Run these tests; return the exit code of pytest (None: it did not end in time) and its output."""
        arguments = [*PYTEST, *options, *(f"tests/{test}" for test in tests)]
        run = get_context("fork").Process(target=self._become_pytest, args=(arguments,))
        run.start()
        try:
            run.join(seconds)
            code = run.exitcode
        finally:
            if run.pid is not None and run.is_alive():
                # Together with the processes that its tests have started.
                os.killpg(run.pid, signal.SIGKILL)
                run.join()
        return code, self._printed.read_text("utf-8", "replace")

    @property
    def _printed(self) -> Path:
        return self.root.with_name("printed")

    def _become_pytest(self, arguments: list[str]) -> None:
        """Run pytest in this fork, which has the slow imports, on the source of this tree."""
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
        # Write no .pyc, so that a mutant's .pyc is never used for the original file.
        sys.dont_write_bytecode = True
        sys.path[:] = [str(self.root / "src"), *(path for path in sys.path if Path(path) not in OURS)]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("dialer", "mutants")]:
            del sys.modules[name]
        sys.exit(pytest.main(arguments))


def main() -> int:
    """Run the mutants on all cores and print the result of each."""
    options, began_at = _options(), monotonic()
    chosen = [mutant for mutant in load() if not options.words or any(word in mutant.id for word in options.words)]
    if not chosen:
        _print("no mutant has such an id")
        return 1
    jobs = min(options.jobs, len(chosen))
    # Also when the parent process ignores SIGINT. The workers inherit the handler, and so clean up.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    with ProcessPoolExecutor(jobs) as pool:
        try:
            results = list(chain(*pool.map(_run_all, [chosen[n::jobs] for n in range(jobs)])))
        except KeyboardInterrupt:
            for worker in active_children():
                worker.terminate()
            return 130
    _print(*(f"{result.mutant.id}: {result.detail}" for result in results if result.verdict == BROKEN))
    return _summary(results, monotonic() - began_at)


def _summary(results: Sequence[Result], seconds: float) -> int:
    """Print the last line, and return the exit code."""
    killed, survived = ([result for result in results if result.verdict == verdict] for verdict in (KILLED, SURVIVED))
    explained = [result for result in survived if result.mutant.survives]
    share = len(killed) / len(results)
    _print(f"{len(results)} mutants, {len(killed)} killed ({share:.1%}), {len(survived)} survived, "
         f"explained: {len(explained)}, in {seconds:.0f} s")  # fmt: skip
    is_good = share >= LEAST_KILLED and len(explained) == len(survived) and len(killed) + len(survived) == len(results)
    return 0 if is_good else 1


def _run_all(mutants: Sequence[Mutant]) -> list[Result]:
    """Run these mutants one after the other. A mutant whose test fails without it, too, is broken."""
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
        return _without_false_kills(results, tree)


def _watch_clients(servers: Servers) -> None:
    """Let Postgres cancel statements of clients that have died: a mutant may leave them waiting for a lock."""
    database = Database(servers.database_url)
    with database.begin() as connection:
        run(connection, "ALTER DATABASE dialer SET client_connection_check_interval = '500ms'")
    database.close()


def _run(mutant: Mutant, tree: Tree) -> Result:
    """Apply one mutant to the tree, run its tests, and revert it."""
    began_at, path = monotonic(), mutant.path(tree.root)
    original = path.read_text("utf-8")
    try:
        path.write_text(mutant.mutated(original), "utf-8")
        verdict, detail = _verdict(*tree.pytest(mutant.tests, "-x", seconds=DEADLINE_SECONDS))
    except ValueError as error:
        verdict, detail = BROKEN, str(error)
    finally:
        path.write_text(original, "utf-8")
    if verdict == KILLED and mutant.survives:
        verdict, detail = BROKEN, f"it has an explanation why it survives, but {detail} fails"
    result = Result(mutant, verdict, detail, monotonic() - began_at)
    _print(f"{verdict:8}  {mutant.id:50}  {result.seconds:5.1f} s  {detail if verdict == KILLED else mutant.breaks}")
    return result


def _verdict(code: int | None, printed: str) -> tuple[str, str]:
    if code is None:
        return KILLED, f"its tests did not end within {DEADLINE_SECONDS} s"
    if code == 0:
        return SURVIVED, ""
    failed = re.search(r"^(FAILED|ERROR) (\S+?)(?:\[| |$)", printed, re.MULTILINE)
    # An error in a fixture kills only if it is an assertion; otherwise the setup of the test is broken.
    is_killed = failed is not None and (failed[1] == "FAILED" or "E   AssertionError" in printed)
    if code != 1 or failed is None or not is_killed or CANNOT_RUN.search(printed):
        return BROKEN, f"its tests cannot be run (pytest: {code}):\n{printed[-3000:]}"
    return KILLED, failed[2]


def _without_false_kills(results: Sequence[Result], tree: Tree) -> list[Result]:
    """Run the tests that killed mutants again without any mutant: one that fails then has killed nothing."""
    killers = sorted({result.detail.removeprefix("tests/") for result in results if result.detail.startswith("tests/")})
    if not killers:
        return list(results)
    code, printed = tree.pytest(killers, seconds=DEADLINE_SECONDS + TEST_SECONDS * len(killers))
    if code == 0:
        return list(results)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+?)(?:\[| |$)", printed, re.MULTILINE)
    _print(f"without any mutant (pytest: {code}):", printed[-3000:])
    return [
        replace(result, verdict=BROKEN, detail=f"{result.detail} fails without it, too")
        if result.detail in failed
        else result
        for result in results
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="parts of ids; default: all mutants")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants that run in parallel")
    return parser.parse_args()


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
