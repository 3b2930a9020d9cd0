"""Runs the examples of the README unchanged: the shell commands against a real `dialer up`, and the SQL."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dialer.service import batches
from support.deadline import DEADLINE_SECONDS
from support.world import World

ROOT = Path(__file__).parents[2]
EXAMPLE = r"<!-- executed by tests/system/test_readme.py -->\n```%s\n(.*?)```"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs what the README says of Linux")


def the_example(language: str) -> str:
    example: str
    (example,) = re.findall(EXAMPLE % language, (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    return example


def test_the_example_goes_from_a_key_to_a_finished_batch(tmp_path: Path) -> None:
    example = the_example("bash")
    up = subprocess.Popen(
        [sys.executable, "-m", "dialer", "up", "--port", "0", "--speed", "60"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert up.stdout is not None
        lines = iter(up.stdout.readline, "")
        address = next(match for line in lines if (match := re.search(r"Dialer is up at (\S+)", line)))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", example],
            cwd=tmp_path,
            env=os.environ | {"DIALER_URL": address[1]},
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * DEADLINE_SECONDS,
        )
    finally:
        up.terminate()
        up.communicate(timeout=DEADLINE_SECONDS)
    assert up.returncode == 0
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"imported":2' in done.stdout
    assert "event: end" in done.stdout
    assert done.stdout.rstrip().endswith("[]")
    with (tmp_path / "results.csv").open(newline="") as file:
        results = list(csv.DictReader(file))
    assert [row["phone_number"] for row in results] == ["+12025550101", "+12025550102"]
    assert {row["status"] for row in results} <= {"completed", "failed"}


def test_the_sql_steers_the_live_batch_of_a_name_that_a_finished_one_and_a_draft_have_too(world: World) -> None:
    finished, draft, live = (world.batch(2, start=start, name="contacts.csv") for start in (True, False, True))
    world.sql("UPDATE batches SET status = 'completed' WHERE id = :id", id=finished)
    others = "SELECT * FROM batches WHERE id <> :live ORDER BY id"
    left = world.rows(others, live=live)

    def look() -> tuple[str, int]:
        (row,) = world.rows("SELECT status, max_concurrent_calls FROM batches WHERE id = :live", live=live)
        return row.status, row.max_concurrent_calls

    pause, resume, show = re.findall(r"^(\w.*?);", the_example("sql"), re.MULTILINE)
    assert (world.sql(pause), look()) == (1, ("paused", 10))
    assert (world.sql(resume), look()) == (1, ("active", 40))
    assert {(row.batch_id, row.status) for row in world.rows(show)} == {
        (finished, "completed"), (draft, "draft"), (live, "active"),
    }  # fmt: skip
    assert world.rows(others, live=live) == left
    batches.cancel(world.db, world.installed.workspace_id, live)
    assert world.sql(pause) == 0
