"""`dialer --help` reads as documentation and answers at once; wrong usage is exit 2."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cli.conftest import Dialer
from dialer import cli
from dialer.cli.sections import SECTIONS

COMMANDS = (
    *("demo", "run", "up", "worker", "beat", "listener", "alive", "simulator", "audit", "doctor", "bench", "db"),
    *(
        "api",
        "keys",
        "quarantine",
        "batch",
        "contacts",
        "calls",
        "agents",
        "numbers",
        "trunks",
        "folders",
        "suppress",
        "webhooks",
        "top",
        "workspaces",
        "person",
    ),
)
RUNS_FOR_LONG = "runs until it is stopped, and its output is a log"
WITHOUT_JSON = {
    **dict.fromkeys(("up", "api", "worker", "beat", "listener", "simulator"), RUNS_FOR_LONG),
    "person export": "prints JSON in any case",
}
LISTS = ("list", "history", "deliveries")
HEAVY = (
    "dialer.cli.batch",
    "sqlalchemy",
    "alembic",
    "psycopg",
    "redis",
    "celery",
    "pydantic",
    "pendulum",
    "rich",
    "phonenumbers",
    "httpx2",
)


def test_help_names_every_command_the_settings_and_the_exit_codes(dialer: Dialer) -> None:
    result = dialer("--help")
    assert result.code == 0
    for word in (*COMMANDS, "DIALER_DATABASE_URL", "DIALER_REDIS_URL", "DIALER_DATA_DIR", "Exit code"):
        assert word in result.out


def test_every_command_is_listed_in_one_section() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS)
    assert len(set(listed)) == len(listed)


def commands(command: Any, words: str = "") -> Iterator[tuple[str, set[str]]]:
    """Each command below this one, with its options."""
    if not hasattr(command, "commands"):
        yield words.strip(), {option for parameter in command.params for option in parameter.opts}
        return
    for name, below in command.commands.items():
        yield from commands(below, f"{words} {name}")


def test_every_command_prints_json_if_asked_and_every_list_has_a_limit() -> None:
    options = dict(commands(get_command(cli.app)))
    assert len(options) > 60
    assert {words for words in options if "--json" not in options[words]} == WITHOUT_JSON.keys()
    lists = {words for words in options if words.rpartition(" ")[2] in LISTS}
    assert {words for words in lists if "--limit" not in options[words]} == set()


def test_the_version_is_that_of_the_installed_package(dialer: Dialer) -> None:
    assert dialer("--version").out == f"dialer {version('dialer-engine')}\n"


@pytest.mark.parametrize(
    "command",
    [
        *((name,) for name in COMMANDS),
        ("db", "upgrade"),
        ("db", "check"),
        ("quarantine", "list"),
        ("quarantine", "retry"),
    ],
)
def test_every_command_says_what_it_does(command: tuple[str, ...], dialer: Dialer) -> None:
    result = dialer(*command, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: dialer {' '.join(command)}")
    assert len(result.out.split("\n\n")[1]) > 20


def test_help_loads_nothing_that_only_work_needs() -> None:
    code = (
        "import sys; from dialer.cli import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: []\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_and_a_closed_output_are_no_traceback() -> None:
    version_to = [sys.executable, "-m", "dialer", "--version"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(version_to, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "dialer: [Errno 28] No space left on device\n")
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *version_to], stderr=subprocess.PIPE, text=True, check=False
    )
    assert (closed.returncode, closed.stderr) == (0, "")


DATABASE = ("sqlalchemy", "psycopg", "pendulum", "structlog")
NOT_OF_THE_DATABASE = (
    "celery",
    "alembic",
    "redis",
    "dialer.providers",
    "structlog",
    "rich",
    "httpx2",
    "dialer.cli.batch",
)


@pytest.mark.parametrize(
    ("command", "unused"),
    [
        ("batch list", (*DATABASE, "redis", "celery", "alembic", "rich", "dialer.cli.keys")),
        ("batch watch x", ("sqlalchemy", "psycopg", "redis", "celery", "alembic")),
        ("contacts import x y", ("sqlalchemy", "psycopg", "redis", "celery", "alembic")),
        ("keys list", (*NOT_OF_THE_DATABASE, "phonenumbers", "dialer.store.attempts")),
        ("audit", NOT_OF_THE_DATABASE),
        ("quarantine list", (*NOT_OF_THE_DATABASE, "dialer.store.attempts")),
        ("db check", (*NOT_OF_THE_DATABASE, "phonenumbers", "dialer.domain.trunk")),
        ("doctor", ("celery", "alembic", "dialer.worker")),
    ],
)
def test_a_command_loads_only_what_it_uses(command: str, unused: tuple[str, ...], tmp_path: Path) -> None:
    code = (
        "import sys; from dialer.cli import main\n"
        f"try: main({command.split()!r})\n"
        f"except SystemExit: print('loaded:', [name for name in {unused!r} if name in sys.modules])"
    )
    nowhere = "127.0.0.1:1"
    environment = {
        "DIALER_URL": f"http://{nowhere}",
        "DIALER_API_KEY": "x",
        "DIALER_DATA_DIR": str(tmp_path),
        "DIALER_DATABASE_URL": f"postgresql+psycopg://{nowhere}/x",
        "DIALER_REDIS_URL": f"redis://{nowhere}/0",
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.endswith("loaded: []\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("run",),
        ("run", "list.csv"),
        ("run", "list.csv", "--agent", "demo", "--max-concurrent-calls", "many"),
        ("run", "list.csv", "--agent", "demo", "--options", "[1]"),
        ("run", "list.csv", "--agent", "demo", "--options", "{"),
        ("run", "list.csv", "--agent", "demo", "--phone-rotation-strategy", "alphabetical"),
        ("demo", "--contacts", "0"),
        ("up", "--workers", "0"),
        ("simulator", "--port", "65536"),
        ("db", "frobnicate"),
        ("quarantine", "retry"),
        ("quarantine", "retry", "1", "--all"),
        ("quarantine", "retry", "everything"),
        ("worker", "surplus"),
    ],
)
def test_wrong_usage_is_exit_2_with_the_reason_and_nothing_on_standard_output(
    arguments: tuple[str, ...], dialer: Dialer
) -> None:
    result = dialer(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines()[-1].startswith("Error: ")
