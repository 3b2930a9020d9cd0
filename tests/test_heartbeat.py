"""A process is alive while its main loop runs, and has failed when it does not; those that ended are not seen."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Event

import pytest

from dialer.errors import Unavailable
from dialer.heartbeat import FAILED_SECONDS, MAX_REASON, STUCK_SECONDS, Heartbeat, pulses
from support.deadline import DEADLINE_SECONDS, wait_until

OTHER_PROCESS = """
import sys
from pathlib import Path
from dialer.heartbeat import Heartbeat
heartbeat = Heartbeat(Path(sys.argv[1]), "beat", lambda: 70.0, print)
heartbeat.touch()
print("written", flush=True)
sys.stdin.read()
"""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heartbeat(tmp_path: Path, clock: Clock, errors: list[Exception]) -> Heartbeat:
    return Heartbeat(tmp_path / "run", "worker", clock, errors.append, threads=1)


def seen(folder: Path, now: float, kind: str | None = None) -> list[tuple[str, int, float]]:
    return [(pulse.kind, pulse.pid, pulse.seconds_ago) for pulse in pulses(folder, kind, now)]


def test_a_process_is_seen_from_its_first_heartbeat_on(heartbeat: Heartbeat, clock: Clock, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert seen(folder, clock.now) == []
    heartbeat.touch()
    assert seen(folder, 100.5) == [("worker", os.getpid(), 0.5)]
    clock.now = 100.75
    heartbeat.touch()
    assert seen(folder, 100.75) == [("worker", os.getpid(), 0.75)], "written more than once a second"
    clock.now = 101.0
    heartbeat.touch()
    assert seen(folder, 101.0, "worker") == [("worker", os.getpid(), 0.0)]
    assert seen(folder, 101.0, "beat") == []
    assert not pulses(folder, None, 101.0 + FAILED_SECONDS)[0].has_failed
    assert pulses(folder, None, 101.1 + FAILED_SECONDS)[0].has_failed


def test_a_worker_whose_threads_are_all_stuck_in_a_step_has_no_heartbeat(
    heartbeat: Heartbeat, clock: Clock, tmp_path: Path
) -> None:
    with heartbeat.step():
        clock.now += STUCK_SECONDS
        heartbeat.touch()
        written_at = clock.now
        clock.now += 1
        heartbeat.touch()
        assert seen(tmp_path / "run", clock.now) == [("worker", os.getpid(), clock.now - written_at)]
    heartbeat.touch()
    assert seen(tmp_path / "run", clock.now) == [("worker", os.getpid(), 0.0)]


def test_a_process_is_ready_while_its_servers_answer(heartbeat: Heartbeat, clock: Clock, tmp_path: Path) -> None:
    checked, checks = Event(), Queue[Exception | None]()

    def check() -> None:
        checked.set()
        if error := checks.get():
            raise error

    def not_ready() -> str:
        clock.now += 1
        heartbeat.touch()
        (pulse,) = pulses(tmp_path / "run", "worker", clock.now)
        assert pulse.seconds_ago == 0
        return pulse.not_ready

    heartbeat.check_servers(check)
    assert checked.wait(DEADLINE_SECONDS)
    assert not_ready() == "its servers are not checked yet"
    clock.now += FAILED_SECONDS
    assert not_ready() == f"its servers have not answered for {FAILED_SECONDS + 2:.0f} s"
    checks.put(Unavailable("Postgres does not answer: …" + MAX_REASON * "x" + "\nmore"))
    wait_until(lambda: not_ready().startswith("Postgres does not answer: ?xxx"))


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        yield process
        process.kill()


def test_a_killed_process_is_not_seen_and_its_file_is_removed_by_the_next(
    heartbeat: Heartbeat, other_process: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert seen(folder, 100) == [("beat", other_process.pid, 30)]
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    assert (folder / f"beat.{other_process.pid}").exists()
    assert seen(folder, 100) == []
    heartbeat.touch()
    assert [file.name for file in folder.iterdir()] == [f"worker.{os.getpid()}"]


def test_a_folder_that_cannot_be_used_stops_no_process(errors: list[Exception], clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    Heartbeat(tmp_path / "file", "worker", clock, errors.append).touch()
    assert [type(error) for error in errors] == [FileExistsError]
