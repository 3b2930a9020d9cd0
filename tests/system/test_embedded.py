"""The embedded servers, with the real programs: they serve, keep, refuse, and leave nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import create_engine, text

import dialer
from dialer.embedded import Servers, child, postgres, running, running_at, stop, valkey
from dialer.embedded.data_dir import password_of, use_exclusively
from dialer.errors import Unavailable
from support.deadline import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only on Linux does the kernel end what a dead parent left"
)

SOURCE = Path(dialer.__file__).parent

HOLD = """
import json, sys
from pathlib import Path
from dialer.embedded import running
with running(Path(sys.argv[1])) as servers:
    print(json.dumps([servers.database_url, servers.redis_url]), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running(tmp_path_factory.mktemp("shared"), durable=False) as servers:
        yield servers


def test_a_query_works_through_sqlalchemy(servers: Servers) -> None:
    engine = create_engine(servers.database_url)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT current_database(), current_setting('timezone')")).one()
    engine.dispose()
    assert tuple(row) == ("dialer", "UTC")


def test_redis_keeps_a_value(servers: Servers) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.set("greeting", "hello")
        assert client.get("greeting") == b"hello"


def test_postgres_is_refused_without_the_password(servers: Servers) -> None:
    address = plain(servers.database_url).replace(password_in(servers.database_url), "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(address)
    without_password = address.replace(":wrong@", "@")
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(without_password, passfile=os.devnull)


def test_redis_is_refused_without_the_password(servers: Servers) -> None:
    address = servers.redis_url.replace(f":{password_in(servers.redis_url)}@", "")
    with redis.Redis.from_url(address) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_the_servers_listen_on_loopback_alone(servers: Servers) -> None:
    with psycopg.connect(plain(servers.database_url)) as connection:
        shown = connection.execute("SHOW listen_addresses").fetchone()
    with redis.Redis.from_url(servers.redis_url) as client:
        assert (shown, client.config_get("bind")) == (("127.0.0.1",), {"bind": "127.0.0.1"})


def test_postgres_logs_no_values_of_statements(servers: Servers) -> None:
    with psycopg.connect(plain(servers.database_url), autocommit=True) as connection:
        (home,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        connection.execute("CREATE TEMPORARY TABLE people (name text UNIQUE, age int CHECK (age > 0))")
        connection.execute("SET log_min_duration_statement = 0")
        for age in (1, 1, -1):
            with suppress(psycopg.errors.IntegrityError):
                connection.execute("INSERT INTO people VALUES (%s, %s)", ("Ada Lovelace", age))
        connection.execute("DO $$BEGIN RAISE LOG 'until here'; END$$")
    log = (Path(home).parent / "log" / "postgres.log").read_text()
    assert "until here" in log
    assert "INSERT INTO people" in log
    assert "Lovelace" not in log


def test_data_survives_a_clean_stop_and_start(tmp_path: Path) -> None:
    with running(tmp_path) as servers:
        remember(servers)
    with running(tmp_path) as servers:
        assert remembered(servers) == ("kept", b"kept")


def test_the_folder_is_private_and_so_is_what_holds_the_password(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "data"
    with running(data_dir, durable=False):
        files = (data_dir, data_dir / "password", data_dir / "lock", data_dir / "redis" / "server.conf")
        assert [oct(path.stat().st_mode & 0o777) for path in files] == ["0o700", "0o600", "0o600", "0o600"]


def contents(folder: Path) -> list[tuple[str, int, str]]:
    return sorted(
        (str(path.relative_to(folder)), path.stat().st_mode, path.read_text() if path.is_file() else "")
        for path in (folder, *folder.rglob("*"))
    )


@pytest.mark.parametrize("name", ["thesis.odt", "lock", "log", "password"])
def test_a_folder_with_other_things_in_it_is_refused_untouched(tmp_path: Path, name: str) -> None:
    folder_of_others = tmp_path / "home"
    folder_of_others.mkdir(mode=0o755)
    (folder_of_others / name).write_text("of somebody")
    (folder_of_others / "photos").mkdir()
    before = contents(folder_of_others)
    with pytest.raises(Unavailable, match=r"contains other files \(.*photos"), running(folder_of_others):
        pass
    assert contents(folder_of_others) == before


@pytest.mark.parametrize("name", ["postgres", "redis", "postgres-new-1"])
def test_a_folder_with_nothing_but_a_server_of_somebody_in_it_is_refused_untouched(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    (home / name).mkdir(parents=True)
    before = contents(home)
    with pytest.raises(Unavailable, match=rf"contains other files \({name}"), running(home):
        pass
    assert contents(home) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of another user")
def test_a_folder_of_another_user_is_refused_untouched(tmp_path: Path) -> None:
    folder_of_others = tmp_path / "home"
    folder_of_others.mkdir(mode=0o755)
    os.chown(folder_of_others, 1, 1)
    with pytest.raises(Unavailable, match="belongs to another user"), running(folder_of_others):
        pass
    with pytest.raises(Unavailable, match="belongs to another user"):
        running_at(folder_of_others)
    assert (contents(folder_of_others), folder_of_others.stat().st_uid) == ([(".", 0o40755, "")], 1)


def test_the_password_is_not_among_the_arguments_of_any_process(tmp_path: Path) -> None:
    with running(tmp_path, durable=False) as servers:
        arguments = [Path(f"/proc/{pid}/cmdline").read_text() for pid in server_pids(tmp_path)]
        assert not [line for line in arguments if password_in(servers.redis_url) in line]


def test_no_process_is_left_after_the_end(tmp_path: Path) -> None:
    with running(tmp_path, durable=False):
        pids = server_pids(tmp_path)
        assert all(is_alive(pid) for pid in pids)
    assert not [pid for pid in pids if is_alive(pid)]
    assert not processes_of(tmp_path)


def make_data_folder(folder: Path) -> None:
    """Leave what the first start makes before any server."""
    (folder / "log").mkdir()
    (folder / "lock").touch()
    (folder / "password").write_text("secret")


def test_no_process_is_left_when_the_second_server_does_not_start(tmp_path: Path) -> None:
    make_data_folder(tmp_path)
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "appendonlydir").write_text("in the way of the folder of that name")
    with pytest.raises(Unavailable, match=r"(?s)Valkey did not start.*append-only"), running(tmp_path):
        pass
    assert (tmp_path / "log" / "postgres.log").exists()
    assert not processes_of(tmp_path)


def test_only_the_servers_asked_for_are_started(tmp_path: Path) -> None:
    with running(tmp_path, durable=False, need_postgres=False) as servers:
        assert servers.database_url == ""
        assert servers.redis_url.startswith("redis://")
        assert running_at(tmp_path) == servers
        assert not (tmp_path / "postgres").exists()


def test_a_second_start_on_the_same_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with running(tmp_path, durable=False, need_postgres=False) as servers:
        with pytest.raises(Unavailable) as refused, running(tmp_path, need_postgres=False):
            pass
        assert str(refused.value) == f"{tmp_path} is in use by another dialer (pid {os.getpid()})"
        with redis.Redis.from_url(servers.redis_url) as client:
            assert client.ping()


def test_a_folder_that_cannot_be_made_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be used: Not a directory"), running(tmp_path / "file" / "data"):
        pass


def test_other_processes_find_the_servers_while_and_only_while_they_run(tmp_path: Path) -> None:
    assert running_at(tmp_path) is None
    holder, servers = hold(tmp_path)
    assert running_at(tmp_path) == servers
    holder.communicate()
    assert holder.returncode == 0
    assert running_at(tmp_path) is None


def test_servers_die_with_a_killed_parent_and_the_next_start_finds_what_was_committed(tmp_path: Path) -> None:
    holder, servers = hold(tmp_path)
    pids = server_pids(tmp_path)
    remember(servers)
    kill(holder)
    wait_until(lambda: not [pid for pid in pids if is_alive(pid)] and not processes_of(tmp_path))
    assert running_at(tmp_path) is None
    with running(tmp_path) as servers:
        assert remembered(servers) == ("kept", b"kept")


def test_a_start_right_after_the_parent_was_killed_succeeds(tmp_path: Path) -> None:
    holder, servers = hold(tmp_path)
    remember(servers)
    kill(holder)
    with running(tmp_path) as servers:
        assert remembered(servers) == ("kept", b"kept")


def test_leftover_servers_of_a_dead_parent_are_stopped_by_the_next_start(tmp_path: Path) -> None:
    with running(tmp_path) as servers:
        remember(servers)
    leftovers = start_leftovers(tmp_path)
    try:
        with running(tmp_path) as servers:
            assert all(leftover.wait(DEADLINE_SECONDS) == 0 for leftover in leftovers)
            assert remembered(servers) == ("kept", b"kept")
    finally:
        for leftover in leftovers:
            stop(leftover, 5)


def test_a_pid_file_whose_pid_now_belongs_to_another_process_does_not_prevent_the_start(tmp_path: Path) -> None:
    holder, _ = hold(tmp_path)
    lock = tmp_path / "postgres" / "postmaster.pid"
    _, *rest = lock.read_text().splitlines()
    for pid in server_pids(tmp_path):
        os.kill(pid, signal.SIGKILL)
    kill(holder)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as bystander:
        lock.write_text("\n".join([str(bystander.pid), *rest, ""]))
        (tmp_path / "redis" / "server.pid").write_text(f"{bystander.pid}\n")
        with running(tmp_path, durable=False):
            assert bystander.pid not in server_pids(tmp_path)
        assert bystander.poll() is None


def test_a_creation_that_was_cut_short_is_begun_again(tmp_path: Path) -> None:
    make_data_folder(tmp_path)
    unfinished = tmp_path / "postgres-new-half"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("15")
    with running(tmp_path, durable=False, need_redis=False) as servers, psycopg.connect(plain(servers.database_url)):
        assert not unfinished.exists()


def test_a_cluster_of_an_unknown_version_is_left_alone(tmp_path: Path) -> None:
    make_data_folder(tmp_path)
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(Unavailable, match="needs PostgreSQL 9, which is not found here"), running(tmp_path):
        pass
    assert [path.name for path in (tmp_path / "postgres").iterdir()] == ["PG_VERSION"]


@pytest.mark.parametrize("server", ["postgres", "redis"])
def test_a_port_taken_by_someone_else_is_replaced_by_another(tmp_path: Path, server: str) -> None:
    with socket.socket() as taken, use_exclusively(tmp_path):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free := free_port()])
        secret, choose = password_of(tmp_path), ports.__next__
        kinds = {
            "postgres": lambda: postgres.serving(tmp_path, secret, durable=False, choose_port=choose),
            "redis": lambda: valkey.serving(tmp_path, secret, durable=False, choose_port=choose),
        }
        with kinds[server]() as running_server:
            assert f"127.0.0.1:{free}/" in running_server.url


def test_servers_that_are_killed_are_restarted_where_they_were_with_what_they_held(tmp_path: Path) -> None:
    with running(tmp_path) as servers:
        with psycopg.connect(plain(servers.database_url)) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        assert servers.tend() == []
        killed = server_pids(tmp_path)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        messages: list[str] = []

        def both_are_up() -> bool:
            messages.extend(servers.tend())
            return len(messages) == 2 and not set(server_pids(tmp_path)) & set(killed)

        wait_until(both_are_up)
        assert [message.split(";")[0] for message in sorted(messages)] == [
            "PostgreSQL ended with exit code -9 and is restarted",
            "Valkey ended with exit code -9 and is restarted",
        ]
        with psycopg.connect(plain(servers.database_url)) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
        with redis.Redis.from_url(servers.redis_url) as client:
            assert client.ping()
        pids = server_pids(tmp_path)
    assert not [pid for pid in pids if is_alive(pid)]


def test_valkey_that_refuses_to_stop_during_a_rewrite_is_asked_again(tmp_path: Path) -> None:
    with running(tmp_path, durable=False, need_postgres=False) as servers:
        (pid,) = server_pids(tmp_path)
        with redis.Redis.from_url(servers.redis_url) as client:
            client.mset({f"key {number}": number for number in range(120)})
            client.config_set("rdb-key-save-delay", 10_000)
            client.config_set("appendonly", "yes")
            wait_until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 1)
    log = (tmp_path / "log" / "redis.log").read_text()
    assert "can't exit" in log
    assert "bye bye" in log
    assert not is_alive(pid)


def test_a_process_that_does_not_heed_the_request_is_killed() -> None:
    deaf = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"],
        stdout=subprocess.PIPE,
    )
    with deaf:
        assert deaf.stdout
        deaf.stdout.readline()
        assert stop(deaf, 0.1) == -signal.SIGKILL
        assert stop(deaf, 0.1) == -signal.SIGKILL


@contextmanager
def deaf_to(*numbers: signal.Signals) -> Iterator[None]:
    """Ignore and block these signals, as whoever starts this process may."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_child_accepts_the_stop_signals_that_its_parent_ignores_and_blocks(how: signal.Signals) -> None:
    with deaf_to(signal.SIGINT, signal.SIGTERM), child(["sleep", "60"]) as process:
        process.send_signal(how)
        try:
            assert process.wait(DEADLINE_SECONDS) == -how
        finally:
            process.kill()


def test_servers_whose_parent_ignores_and_blocks_the_stop_signals_are_stopped_in_order(tmp_path: Path) -> None:
    with deaf_to(signal.SIGINT, signal.SIGTERM), running(tmp_path, durable=False):
        pids = server_pids(tmp_path)
    assert "database system is shut down" in (tmp_path / "log" / "postgres.log").read_text()
    assert "bye bye" in (tmp_path / "log" / "redis.log").read_text()
    assert not any(is_alive(pid) for pid in pids)


def remember(servers: Servers) -> None:
    with psycopg.connect(plain(servers.database_url)) as connection:
        connection.execute("CREATE TABLE memory AS SELECT 'kept' AS word")
    with redis.Redis.from_url(servers.redis_url) as client:
        client.set("word", "kept")


def remembered(servers: Servers) -> tuple[object, object]:
    with psycopg.connect(plain(servers.database_url)) as connection:
        row = connection.execute("SELECT word FROM memory").fetchone()
    with redis.Redis.from_url(servers.redis_url) as client:
        return row and row[0], client.get("word")


def plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def password_in(url: str) -> str:
    return url.split("@")[0].rsplit(":", 1)[1]


def hold(data_dir: Path) -> tuple[subprocess.Popen[str], Servers]:
    """Start a process that runs the servers until its input ends."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE.parent)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert holder.stdout
    return holder, Servers(*json.loads(holder.stdout.readline()))


def kill(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.communicate()


def start_leftovers(data_dir: Path) -> list[subprocess.Popen[bytes]]:
    """Start both servers as they would be after a parent died where the kernel does not tell its children."""
    cluster = postgres.prepare(data_dir, durable=True)
    cache = valkey.prepare(data_dir, password_of(data_dir), durable=True)
    environment = os.environ | {"LC_ALL": "C"}
    output = subprocess.DEVNULL
    started = [
        subprocess.Popen(cluster.command(free_port()), env=environment, stdout=output, stderr=output),
        subprocess.Popen(cache.command(), cwd=cache.home, stdout=output, stderr=output),
    ]
    wait_until(lambda: server_pids(data_dir) == [process.pid for process in started])
    return started


def server_pids(data_dir: Path) -> list[int]:
    files = (data_dir / "postgres" / "postmaster.pid", data_dir / "redis" / "server.pid")
    written = [file.read_text().split() for file in files if file.exists()]
    return [int(words[0]) for words in written if words]


def is_alive(pid: int) -> bool:
    """Say whether the process runs; a zombie that nobody has collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def processes_of(data_dir: Path) -> list[int]:
    """Return the processes that work in the folder: servers, and what they have started."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cwd").readlink().is_relative_to(data_dir):
                pids.append(int(process.name))
        except OSError:
            continue
    return pids


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
