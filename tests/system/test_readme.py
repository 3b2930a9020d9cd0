"""Runs the examples of the README and the tutorial unchanged, against one `dialer up`; and the README's SQL."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialer.service import batches
from support.deadline import DEADLINE_SECONDS
from support.documents import ROOT, commands_of
from support.world import World

EXAMPLE = r"<!-- executed by tests/system/test_readme.py -->\n```%s\n(.*?)```"

# Each command as a process of its own would take a second of CPU.
ALL_IN_ONE_PROCESS = """
import json, sys
from dialer.cli import main
for words in json.load(sys.stdin):
    try:
        main(words)
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"{words} ended with exit {ended.code}")
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs what the README says of Linux")


def the_examples(page: str, language: str) -> list[str]:
    return re.findall(EXAMPLE % language, (ROOT / page).read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Run `dialer up` in a folder; yield the folder, and the URL of the API."""
    folder = tmp_path_factory.mktemp("readme")
    process = subprocess.Popen(
        [sys.executable, "-m", "dialer", "up", "--port", "0", "--speed", "60"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        address = next(match for line in lines if (match := re.search(r"Dialer is up at (\S+)", line)))
        yield folder, address[1]
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0


def test_the_example_goes_from_a_key_to_a_finished_batch(up: tuple[Path, str]) -> None:
    folder, url = up
    (example,) = the_examples("README.md", "bash")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example],
        cwd=folder,
        env=os.environ | {"DIALER_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"imported":2' in done.stdout
    assert "event: end" in done.stdout
    assert '"violations":[]' in done.stdout
    with (folder / "results.csv").open(newline="") as file:
        results = list(csv.DictReader(file))
    assert [row["phone_number"] for row in results] == ["+12025550101", "+12025550102"]
    assert {row["status"] for row in results} <= {"completed", "failed"}


def test_the_tutorial_goes_from_a_list_to_its_results(up: tuple[Path, str]) -> None:
    folder, _ = up
    (contacts,) = re.findall(r"```csv\n(.*?)```", (ROOT / "docs/tutorial.md").read_text("utf-8"), re.DOTALL)
    (folder / "contacts.csv").write_text(contacts)
    commands = [words for block in the_examples("docs/tutorial.md", "sh") for words in commands_of(block)]
    assert len(commands) > 6
    done = subprocess.run(
        [sys.executable, "-c", ALL_IN_ONE_PROCESS],
        cwd=folder,
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * DEADLINE_SECONDS,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert "line 5: phone_number" in printed
    assert "will be called" in printed
    assert "Audit clean" in printed
    with (folder / "results.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["Ada", "Bob", "Cem"]


def test_the_sql_steers_the_live_batch_of_a_name_that_a_finished_one_and_a_draft_have_too(world: World) -> None:
    finished, draft, live = (world.batch(2, start=start, name="contacts.csv") for start in (True, False, True))
    world.sql("UPDATE batches SET status = 'completed' WHERE id = :id", id=finished)
    others = "SELECT * FROM batches WHERE id <> :live ORDER BY id"
    left = world.rows(others, live=live)

    def look() -> tuple[str, int]:
        (row,) = world.rows("SELECT status, max_concurrent_calls FROM batches WHERE id = :live", live=live)
        return row.status, row.max_concurrent_calls

    (example,) = the_examples("README.md", "sql")
    pause, resume, show = re.findall(r"^(\w.*?);", example, re.MULTILINE)
    assert (world.sql(pause), look()) == (1, ("paused", 10))
    assert (world.sql(resume), look()) == (1, ("active", 40))
    assert {(row.batch_id, row.status) for row in world.rows(show)} == {
        (finished, "completed"), (draft, "draft"), (live, "active"),
    }  # fmt: skip
    assert world.rows(others, live=live) == left
    batches.cancel(world.db, world.installed.workspace_id, live)
    assert world.sql(pause) == 0
