"""The whole engine as a user runs it: real processes on real servers, killed, emptied and stopped."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis

from support.deadline import wait_until
from support.dialer_up import DIALER, SIGNAL_IGNORING_DIALER, Up, children
from support.world import made_up_phones

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(420),
    pytest.mark.skipif(sys.platform != "linux", reason="reads the children of a process from /proc"),
]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def up(*arguments: str, command: Sequence[str] = DIALER) -> Up:
        started.append(Up(tmp_path / "data", *arguments, command=command))
        return started[-1]

    yield up
    for process in started:
        if process.process.poll() is None:
            process.stop()


def contact_file(folder: Path, count: int) -> Path:
    file = folder / "contacts.csv"
    file.write_text("\n".join(["phone", *made_up_phones(count), "+12015550000", "nonsense"]) + "\n")
    return file


def run_list(up: Up, file: Path) -> "subprocess.Popen[str]":
    options = ["--agent", "demo", "--max-concurrent-calls", "50", "--working-days", "1,2,3,4,5,6,7"]
    return subprocess.Popen(
        [*DIALER, "run", str(file), "--data-dir", str(up.data_dir), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def dialer(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*DIALER, *arguments], capture_output=True, text=True, timeout=60, check=False)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_list_is_called_to_its_end_though_a_worker_is_killed_and_redis_is_emptied(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start("--workers", "2")
    with run_list(up, contact_file(tmp_path, 400)) as calling:
        wait_until(lambda: up.query("SELECT coalesce(max(completed), 0) FROM batch_progress") > 20)
        up.kill("worker")
        wait_until(lambda: up.query("SELECT coalesce(max(completed), 0) FROM batch_progress") > 80)
        with redis.Redis.from_url(up.servers.redis_url) as client:
            client.flushall()
        output, _ = calling.communicate(timeout=120)
    assert calling.returncode == 0, output
    assert "Loaded 400 contacts; 1 duplicates, 0 suppressed, 1 rejected." in output
    assert "Audit clean" in output
    # What the killed worker had written and not sent was refused: it is in the ledger, but was no call.
    assert up.query("SELECT count(*) FROM attempts WHERE state <> 'refused'") == 400
    assert up.query("SELECT count(*) FROM contacts WHERE status IN ('completed', 'failed')") == 400


def test_kill_9_of_the_whole_leaves_no_process_and_the_next_start_goes_on(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start()
    with run_list(up, contact_file(tmp_path, 300)) as calling:
        wait_until(lambda: up.query("SELECT coalesce(max(completed), 0) FROM batch_progress") > 20)
        children = up.children()
        assert up.stop(signal.SIGKILL) == -signal.SIGKILL
        wait_until(lambda: all(is_gone(pid) for pid in children), 15)
        output, _ = calling.communicate(timeout=60)
    assert calling.returncode == 1
    assert "Traceback" not in output
    again = start()
    wait_until(lambda: again.query("SELECT status FROM batches") == "completed", 120)
    assert again.query("SELECT count(*) FROM contacts WHERE status IN ('completed', 'failed')") == 300
    audit = dialer("audit", "--data-dir", str(again.data_dir))
    assert audit.returncode == 0, audit.stdout
    assert "Audit clean" in audit.stdout


def test_a_second_up_on_the_folder_is_refused_and_an_api_that_is_killed_is_started_again_under_who_watches(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start()
    second = dialer("up", "--data-dir", str(up.data_dir), "--port", "0")
    assert second.returncode == 1
    reason = second.stderr.splitlines()[-1]
    assert reason.startswith("dialer: ")
    assert f"in use by another dialer (pid {up.process.pid})" in reason
    home = ("--data-dir", str(up.data_dir))
    fields = ("working_days=[1,2,3,4,5,6,7]", "max_concurrent_calls=20")
    assert dialer("batch", "create", "--name", "x", "--agent", "demo", *fields, *home).returncode == 0
    loaded = dialer("contacts", "import", "x", str(contact_file(tmp_path, 150)), *home)
    assert loaded.stdout.startswith("Loaded 150 contacts; 1 duplicates, 0 suppressed, 1 rejected."), loaded.stderr
    watching = [*DIALER, "batch", "watch", "x", "--json", *home]
    with subprocess.Popen(watching, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        assert dialer("batch", "schedule", "x", *home).returncode == 0
        wait_until(lambda: up.query("SELECT max(completed) FROM batch_progress") > 10)
        os.kill(next(pid for pid, command in up.children().items() if " dialer api " in command), signal.SIGKILL)
        output, errors = watch.communicate(timeout=120)
    assert watch.returncode == 0, errors
    *changes, last = map(json.loads, output.splitlines())
    assert last["counts"]["total"] == 150
    assert changes[-1]["status"] == "completed"
    assert up.stop() == 0
    assert any(line.startswith("api ended with exit code -9 and is restarted") for line in up.output)


def test_term_stops_everything_and_the_admin_key_is_kept_as_long_as_it_works(start: Callable[..., Up]) -> None:
    first = start()
    file = first.data_dir / "admin.key"
    key = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    wait_until(lambda: dialer("doctor", "--data-dir", str(first.data_dir)).returncode == 0, 30)
    children = first.children()
    assert len(children) >= 6
    assert first.stop() == 0
    assert first.output[-1] == "Stopped; nothing is lost.\n"
    assert all(is_gone(pid) for pid in children)
    assert key not in "".join(first.output)
    second = start()
    assert file.read_text().strip() == key
    assert dialer("keys", "revoke", key.split("_")[1], "--data-dir", str(second.data_dir)).returncode == 0
    refused = dialer("batch", "list", "--data-dir", str(second.data_dir))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    second.stop()
    assert key not in "".join(second.output)
    third = start()
    assert file.read_text().strip() != key
    assert dialer("batch", "list", "--data-dir", str(third.data_dir)).returncode == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_up_whose_parent_ignored_and_blocked_its_signals_stops_everything_in_order(
    start: Callable[..., Up], how: signal.Signals
) -> None:
    up = start(command=SIGNAL_IGNORING_DIALER)
    started = up.children()
    assert up.stop(how) == 0
    assert up.output[-1] == "Stopped; nothing is lost.\n"
    assert not any("is restarted" in line for line in up.output)
    assert all(is_gone(pid) for pid in started)
    assert "database system is shut down" in (up.data_dir / "log" / "postgres.log").read_text()
    assert "bye bye" in (up.data_dir / "log" / "redis.log").read_text()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_demo_whose_parent_ignored_and_blocked_its_signals_stops_everything_in_order(
    tmp_path: Path, how: signal.Signals
) -> None:
    demo = [*SIGNAL_IGNORING_DIALER, "demo", "--contacts", "2000", "--data-dir", str(tmp_path / "data")]
    with (tmp_path / "output").open("w") as output, subprocess.Popen(demo, stdout=output, stderr=output) as process:
        wait_until(lambda: process.poll() is not None or "active: " in (tmp_path / "output").read_text())
        started = children(process.pid)
        process.send_signal(how)
        process.wait(60)
    assert process.returncode == 130, (tmp_path / "output").read_text()
    assert len(started) == 6
    assert all(is_gone(pid) for pid in started)


def test_the_demo_ends_with_a_clean_audit(tmp_path: Path) -> None:
    result = dialer("demo", "--contacts", "60", "--speed", "60")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Audit clean" in result.stdout
    assert "answered" in result.stdout
