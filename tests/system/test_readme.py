"""The worked example of the README is run as it stands, against a real `dialer up`."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = r"<!-- executed by tests/system/test_readme.py -->\n```bash\n(.*?)```"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs what the README says of Linux")


@pytest.mark.timeout(180)
def test_the_example_goes_from_a_key_to_a_finished_batch(tmp_path: Path) -> None:
    (example,) = re.findall(EXAMPLE, (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    up = subprocess.Popen(
        [sys.executable, "-m", "dialer", "up", "--port", "0", "--speed", "60"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert up.stdout is not None
        said = up.stdout.readline()
        address = re.search(r"Dialer is up at (\S+)", said)
        assert address is not None, said
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", example],
            cwd=tmp_path,
            env=os.environ | {"DIALER_URL": address[1]},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    finally:
        up.terminate()
        up.communicate(timeout=60)
    assert up.returncode == 0
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"imported":2' in done.stdout
    assert "event: end" in done.stdout
    assert done.stdout.rstrip().endswith("[]")
    with (tmp_path / "results.csv").open(newline="") as file:
        results = list(csv.DictReader(file))
    assert [row["phone_number"] for row in results] == ["+12025550101", "+12025550102"]
    assert {row["status"] for row in results} <= {"completed", "failed"}
