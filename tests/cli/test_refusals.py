"""What stands in the way of a command is one clear line on standard error and exit 1, whichever command it is."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cli.conftest import Dialer
from dialer.store.database import Database, run
from dialer.store.schema_version import head

LIST = "phone\n+12025550101\n"
RUN = ("run", "list.csv", "--agent", "demo")
PROCESSES = [("worker",), ("beat",), ("listener",)]
ON_THE_DATABASE = [("audit",), ("db", "check"), ("db", "upgrade")]
ON_THIS_MACHINE = [("up",), ("demo",), RUN]
NEED_SERVERS = [*PROCESSES, *ON_THE_DATABASE, ("doctor",)]
EVERY = [*NEED_SERVERS, *ON_THIS_MACHINE]
NOWHERE = "postgresql+psycopg://dialer:secret@127.0.0.1:1/dialer"

every = pytest.mark.parametrize("command", EVERY, ids=" ".join)


@pytest.fixture(autouse=True)
def contacts(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(LIST)


@pytest.fixture
def other_migration(in_cluster: None, db: Database) -> Iterator[None]:
    """The database as a later version of Dialer would leave it."""
    with db.begin() as connection:
        was = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
        run(connection, "UPDATE alembic_version SET version_num = 'of_tomorrow'")
    yield
    with db.begin() as connection:
        run(connection, "UPDATE alembic_version SET version_num = :was", was=was)


@pytest.mark.parametrize("command", NEED_SERVERS, ids=" ".join)
def test_without_settings_it_is_said_which_are_missing_and_what_to_do(command: tuple[str, ...], dialer: Dialer) -> None:
    refusal = dialer(*command).refusal
    assert "DIALER_DATABASE_URL is not set" in refusal
    assert "`dialer up`" in refusal


@every
def test_all_wrong_settings_are_named_at_once_and_no_value_is_shown(
    command: tuple[str, ...], dialer: Dialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIALER_DATABASE_URL", "mysql://dialer:secret@127.0.0.1/dialer")
    monkeypatch.setenv("DIALER_REDIS_URL", "secret")
    monkeypatch.setenv("DIALER_TICK_SECONDS", "secret")
    refusal = dialer(*command).refusal
    assert all(f"DIALER_{name}: " in refusal for name in ("DATABASE_URL", "REDIS_URL", "TICK_SECONDS"))
    assert "secret" not in refusal


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (NOWHERE, "Connection refused"),
        ("postgresql+psycopg://dialer:secret@127.0.0.1:port/dialer", "is not a database URL"),
        ("postgresql+psycopg://dialer:secret@127.0.0.1:1/dialer?no_such=option", "no_such"),
        ("the wrong password", "password authentication failed"),
        ("no such database", "does not exist"),
    ],
)
def test_a_wrong_database_url_is_a_plain_line_without_its_password(
    url: str, reason: str, dialer: Dialer, in_cluster: None, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = urlsplit(migrated)
    if url == "the wrong password":
        url = right._replace(netloc=f"{right.username}:secret@{right.hostname}:{right.port}").geturl()
    if url == "no such database":
        url = right._replace(path="/nowhere").geturl()
    monkeypatch.setenv("DIALER_DATABASE_URL", url)
    for command in (*PROCESSES, *ON_THE_DATABASE, *ON_THIS_MACHINE):
        refusal = dialer(*command).refusal
        assert reason in refusal
        assert "secret" not in refusal


@pytest.mark.parametrize("command", [*PROCESSES, ("audit",), ("quarantine", "list"), ("db", "check")], ids=" ".join)
def test_a_database_of_the_previous_version_is_refused_with_what_to_do(
    command: tuple[str, ...], dialer: Dialer, other_migration: None, db: Database
) -> None:
    with db.begin() as connection:
        run(connection, "UPDATE alembic_version SET version_num = '0004'")
    refusal = dialer(*command).refusal
    assert refusal == (
        f"dialer: The database is at migration 0004, this version of Dialer needs {head()}: run `dialer db upgrade`"
    )


@pytest.mark.parametrize(
    "command", [*PROCESSES, ("audit",), ("db", "check"), ("db", "upgrade"), ("up",), RUN], ids=" ".join
)
def test_a_database_of_another_version_is_refused(
    command: tuple[str, ...], dialer: Dialer, other_migration: None
) -> None:
    assert "is at migration of_tomorrow" in dialer(*command).refusal


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://127.0.0.1:1/0", "Redis does not answer"),
        ("redis://127.0.0.1:port/0", "is not a Redis URL"),
        ("redis://127.0.0.1:1/0?no_such=option", "no_such"),
        ("the database", "Redis does not answer"),
    ],
)
def test_a_redis_that_does_not_answer_is_a_plain_line(
    url: str,
    reason: str,
    dialer: Dialer,
    in_cluster: None,
    db: Database,
    migrated: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if url == "the database":
        right = urlsplit(migrated)
        url = f"redis://{right.hostname}:{right.port}/0"
    monkeypatch.setenv("DIALER_REDIS_URL", url)
    for command in (*PROCESSES, *ON_THIS_MACHINE):
        assert reason in dialer(*command).refusal


def test_the_doctor_names_all_servers_that_cannot_be_used(dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALER_DATABASE_URL", NOWHERE)
    monkeypatch.setenv("DIALER_REDIS_URL", "redis://127.0.0.1:1/0")
    finished = dialer("doctor")
    assert finished.code == 1
    assert [line.split(" does")[0] for line in finished.out.splitlines()] == ["Postgres", "Redis"]


@pytest.mark.parametrize("where", ["a file", "nowhere"])
def test_a_data_folder_that_cannot_be_used_is_a_plain_line(where: str, dialer: Dialer, tmp_path: Path) -> None:
    folder = tmp_path / "list.csv" if where == "a file" else Path("/proc/nowhere")
    for command in ON_THIS_MACHINE:
        assert f"the data folder {folder} cannot be used" in dialer(*command, "--data-dir", str(folder)).refusal


def test_a_port_that_is_taken_is_a_plain_line(dialer: Dialer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot be served at 127.0.0.1:{port}" in dialer("simulator", "--port", str(port)).refusal
        journal = str(tmp_path / "list.csv")
        assert "cannot be served" in dialer("simulator", "--port", str(port), "--journal", journal).refusal
