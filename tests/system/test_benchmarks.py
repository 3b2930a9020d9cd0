"""`python -m benchmarks` compares Dialer with the usual design, with real processes of both."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]


def test_dialer_is_compared_with_the_usual_design_and_with_the_limits(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks", "beside", "limits", "faults", "--quick", "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(report.read_text())["figures"]
    assert [row["what"] for row in figures["beside"]["rows"]] == ["usual design", "dialer", "dialer / usual design"]
    assert all(row["per_second"] > 0 for row in figures["limits"]["rows"])
    (dialer, usual) = figures["faults"]["rows"]
    assert (dialer["what"], usual["what"]) == ("dialer", "usual design")
    assert dialer["rung_by_mistake"] == dialer["slots_leaked"] == dialer["contacts_lost"] == 0
