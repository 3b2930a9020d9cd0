"""`python -m benchmarks` compares Dialer with the usual design, and the soak loads it, with real processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


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


def test_a_soak_of_seconds_judges_its_figures_and_loses_nobody(tmp_path: Path) -> None:
    report = tmp_path / "soak.json"
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.3", "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    result = json.loads(report.read_text())
    verdicts = {row["figure"]: row["verdict"] for row in result["verdicts"]}
    # In seconds some figures still grow; what must be 0 is 0 nevertheless.
    assert done.returncode == ("GROWS" in verdicts.values()), done.stdout + done.stderr
    assert (result["violations"], result["rung_by_mistake"], result["left"]) == (0, 0, 0)
    assert len(result["faults"]) >= 3
    assert {"calls_per_second", "queue", "oldest_report_seconds", "redis_keys", "redis_used_mib"} <= set(verdicts)
    assert {"worker_pss_mib", "attempts_mib", "attempts_indexes_mib", "inbox_dead_rows"} <= set(verdicts)
    assert any(sample["refills"] for sample in result["samples"])
