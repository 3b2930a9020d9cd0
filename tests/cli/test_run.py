"""`dialer run` at its front door: what is refused leaves no batch behind, and interrupting it says what goes on."""

import io
import json
import signal
import subprocess
from pathlib import Path
from threading import Thread

import pytest

from cli.conftest import Dialer, query
from dialer import wiring
from dialer.embedded import Servers, running_at
from dialer.engine.bulk_change import bulk_change
from dialer.settings import Settings
from dialer.store.database import Database, rows, run
from support.deadline import DEADLINE_SECONDS, wait_until
from support.dialer_up import SIGNAL_IGNORING_DIALER

GOOD = b"phone\n+12025550101\n"
RUN = ("--agent", "demo")
EVERY_DAY = ("--working-days", "1,2,3,4,5,6,7")


def quoted(cell: bytes) -> bytes:
    return b'phone,note\n+12025550101,"' + cell + b'"\n'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "file: is empty"),
        (b"name\nAda\n", "file: has no column phone or phone_number"),
        (b'phone,name\n+12025550101,"Ada\n', "file: a quote opened in the row that begins in line 2 is never closed"),
        ("phone\n+12025550101\n".encode("utf-16"), "file: is UTF-16, not UTF-8"),
        (b"phone\n+12025550101\n\xff\xfe\n", "file: line 3 is not UTF-8"),
        (quoted(b"x" * 10_000_000), "file: the row that begins in line 2 is longer than"),
        (b"phone\n+12025550101\n+1202\0\n", "file: line 3 has a NUL character"),
        (b"phone\nnonsense\n\n12\n", "file: has no contact that can be called"),
        (b"phone\n", "file: has no contact that can be called"),
    ],
)
def test_a_bad_file_is_refused_with_one_error_and_nothing_is_stored(
    content: bytes, reason: str, installed: Database, dialer: Dialer, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    result = dialer("run", "list.csv", *RUN)
    assert (result.code, result.out) == (1, "")
    errors = [line for line in result.err.splitlines() if line.startswith("dialer: ")]
    assert [reason in error for error in errors] == [True], result.err
    assert query(installed, "SELECT count(*) FROM batches") == 0


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--timezone", "Nowhere/Atlantis"), "timezone"),
        (("--start-time", "09:00", "--end-time", "09:00"), "end_time"),
        (("--start-time", "9 o'clock"), "start_time"),
        (("--working-days", ""), "working_days"),
        (("--working-days", "1,8"), "working_days.1"),
        (("--working-days", "1,1"), "working_days"),
        (("--max-concurrent-calls", "0"), "max_concurrent_calls"),
        (("--max-concurrent-calls", "101"), "max_concurrent_calls"),
        (("--max-calls-per-day", "0"), "max_calls_per_day"),
        (("--max-retry-attempts", "4"), "max_retry_attempts"),
        (("--scheduled-at", "2001-01-01T00:00Z"), "scheduled_at"),
        (("--default-region", "Atlantis"), "default_region"),
        (("--name", ""), "name"),
        (("--options", '{"no_such_field": 1}'), "no_such_field"),
        (("--agent", "nobody"), "agent"),
    ],
)
def test_a_bad_option_is_refused_by_the_name_of_its_field_and_nothing_is_stored(
    options: tuple[str, ...], field: str, installed: Database, dialer: Dialer, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_bytes(GOOD)
    assert dialer("run", "list.csv", *RUN, *options).refusal.startswith(f"dialer: {field}: ")
    assert query(installed, "SELECT count(*) FROM batches") == 0


def test_all_bad_options_are_named_at_once(installed: Database, dialer: Dialer, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(GOOD)
    refusal = dialer("run", "list.csv", *RUN, "--timezone", "Nowhere", "--max-concurrent-calls", "0").refusal
    assert "timezone: " in refusal
    assert "max_concurrent_calls: " in refusal


def test_a_file_that_cannot_be_opened_is_refused_before_anything_is_started(dialer: Dialer, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert "folder.csv cannot be read: Is a directory" in dialer("run", "folder.csv", *RUN).refusal
    assert "none.csv cannot be read: No such file or directory" in dialer("run", "none.csv", *RUN).refusal
    assert not (tmp_path / ".dialer").exists()


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file whose reading fails")
def test_a_file_that_cannot_be_read_to_its_end_is_refused(installed: Database, dialer: Dialer) -> None:
    assert "file: cannot be read to its end" in dialer("run", "/proc/self/mem", *RUN).refusal
    assert query(installed, "SELECT count(*) FROM batches") == 0


def test_a_batch_that_cannot_be_started_leaves_nothing_behind(
    installed: Database, dialer: Dialer, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_bytes(GOOD)
    with installed.begin() as connection:
        run(connection, "UPDATE phone_numbers SET status = 'inactive'")
    assert "number" in dialer("run", "list.csv", *RUN).refusal
    assert query(installed, "SELECT count(*) FROM batches") == 0


def cancel_once_it_runs(db: Database) -> None:
    wait_until(lambda: query(db, "SELECT count(*) FROM batches WHERE status = 'active'"))
    with db.begin() as connection:
        run(connection, "UPDATE batches SET status = 'cancelled', status_reason = 'not today'")
    # Nobody works in this cluster.
    context = wiring.context_of(Settings.load())
    while bulk_change(context, db.now()).goes_on:
        pass
    wiring.close(context)


def test_a_list_comes_from_standard_input_and_the_results_are_one_json_document(
    installed: Database, dialer: Dialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GOOD + b"nonsense\n+12025550101\n")))
    operator = Thread(target=cancel_once_it_runs, args=[installed])
    operator.start()
    result = dialer("run", "-", *RUN, *EVERY_DAY, "--json")
    operator.join()
    answer = json.loads(result.out)
    assert result.code == 1
    assert (answer["status"], answer["status_reason"]) == ("cancelled", "not today")
    counts = {name: answer["import"][name] for name in ("imported", "duplicates", "suppressed", "rejected")}
    assert counts == {"imported": 1, "duplicates": 1, "suppressed": 0, "rejected": 1}
    assert answer["import"]["errors"] == [
        {"row": 3, "phone_number": "nonsense", "reason": "phone_number: is not a telephone number"}
    ]
    assert answer["results"][0]["status"] == "cancelled"
    assert answer["audit"]["is_clean"]
    assert "Loaded 1 contacts; 1 duplicates, 0 suppressed, 1 rejected.\n  line 3: " in result.err


def test_a_cancelled_batch_is_exit_1_and_the_reason_is_told(
    installed: Database, dialer: Dialer, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_bytes(GOOD)
    operator = Thread(target=cancel_once_it_runs, args=[installed])
    operator.start()
    result = dialer("run", "list.csv", *RUN, *EVERY_DAY)
    operator.join()
    assert result.code == 1
    assert "is cancelled: not today." in result.out
    assert "Audit clean: 0 attempts, 1 contacts, 1 batches" in result.out


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start a command whose parent ignored and blocked TERM and Ctrl-C: it sets its own handlers all the same."""
    return subprocess.Popen(
        [*SIGNAL_IGNORING_DIALER, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_that_the_batch_goes_on_in_the_cluster(
    how: signal.Signals, installed: Database, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_bytes(GOOD)
    with start(tmp_path, "run", "list.csv", *RUN, *EVERY_DAY) as watching:
        assert watching.stderr is not None
        while not (line := watching.stderr.readline()).startswith("active: 0/1"):
            assert line
        watching.send_signal(how)
        out, err = watching.communicate(timeout=DEADLINE_SECONDS)
    assert (watching.returncode, out) == (130, "")
    assert "is no longer watched. The batch continues on its workers." in err
    assert "Traceback" not in err
    assert query(installed, "SELECT status FROM batches") == "active"


def test_an_interrupted_run_with_an_engine_of_its_own_stops_it_and_says_when_the_batch_goes_on(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"phone\n" + b"".join(b"+1202555%04d\n" % n for n in range(200, 300)))
    with start(tmp_path, "run", "list.csv", *RUN, *EVERY_DAY) as calling:
        wait_until(lambda: (servers := running_at(tmp_path / ".dialer")) and has_called(servers))
        children = Path(f"/proc/{calling.pid}/task/{calling.pid}/children").read_text().split()
        calling.send_signal(signal.SIGINT)
        _, err = calling.communicate(timeout=DEADLINE_SECONDS)
    assert calling.returncode == 130
    assert "Traceback" not in err
    assert "No engine runs on .dialer; one was started for this run." in err
    assert "it continues at the next `dialer up` or `dialer run` on .dialer" in err
    assert len(children) == 6
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def has_called(servers: Servers) -> bool:
    database = Database(servers.database_url)
    try:
        with database.begin() as connection:
            there = rows(connection, "SELECT to_regclass('attempts') IS NOT NULL")[0][0]
            return bool(there) and bool(rows(connection, "SELECT count(*) FROM attempts")[0][0])
    finally:
        database.close()
