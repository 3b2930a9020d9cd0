"""The documents, the dashboard and the alert rules agree with the events and metrics of the code."""

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import dialer
from dialer.api import metrics

ROOT = Path(__file__).parents[1]
SOURCE = Path(dialer.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception"}
METRIC = re.compile(r"\bdialer_[a-z_]+")
# Passed to the logger, and no fields of the line.
NO_FIELDS = {"exc_info"}


def calls() -> Iterator[ast.Call]:
    for file in SOURCE.rglob("*.py"):
        if "bench" not in file.parts:
            yield from (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))


def logged() -> dict[str, set[tuple[str, str]]]:
    """Every event in the code: its levels, each with its fields."""
    events: dict[str, set[tuple[str, str]]] = {}
    for call in calls():
        match call:
            case ast.Call(func=ast.Attribute(ast.Name("log" | "logger"), level), args=[ast.Constant(str(event))]):
                if level not in LEVELS:
                    continue
                fields = {keyword.arg for keyword in call.keywords if keyword.arg} - NO_FIELDS
                level = "error" if level == "exception" else level
            case ast.Call(func=ast.Name("Outage") | ast.Attribute(attr="Outage"), args=[ast.Constant(str(event)), *_]):
                level, fields = "warning", {"reason"}
            case _:
                continue
        events.setdefault(event, set()).add((level, " ".join(sorted(fields))))
    return events


def documented() -> dict[str, set[tuple[str, str]]]:
    chapter = (ROOT / "docs" / "observability.md").read_text().partition("\n## Logs\n")[2].partition("\n## ")[0]
    events: dict[str, set[tuple[str, str]]] = {}
    for event, level, fields in re.findall(r"^\| `([^`]+)` \| (\w+) \| ([^|]*) \|", chapter, re.MULTILINE):
        assert level in LEVELS
        events.setdefault(event, set()).add((level, " ".join(sorted(re.findall(r"\w+", fields)))))
    return events


def test_every_event_of_the_log_is_documented_with_its_level_and_fields() -> None:
    assert logged() == documented()


def metrics_of_code() -> set[str]:
    """The names under which the metrics of api/metrics.py are scraped."""
    tree = ast.parse(Path(metrics.__file__).read_text())
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    names = {value for value in constants if isinstance(value, str) and METRIC.fullmatch(value)}
    return {f"{name}_total" if name in metrics.COUNTERS else name for name in names}


def metrics_in(query: str) -> set[str]:
    """The metrics of a query; of a histogram without the suffix of its series."""
    return {re.sub("_(bucket|sum|count)$", "", name) for name in METRIC.findall(query)}


def rules() -> str:
    return (ROOT / "examples" / "prometheus" / "alerts.yml").read_text()


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    table = re.findall(r"^\|(.*?)\|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    assert {name for cell in table for name in METRIC.findall(cell)} == metrics_of_code()


def test_the_dashboard_and_the_alert_rules_use_metrics_that_exist() -> None:
    dashboard = json.loads((ROOT / "examples" / "grafana" / "dialer.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(queries) > 30
    assert {name for query in queries for name in metrics_in(query)} <= metrics_of_code()
    assert metrics_in(rules()) <= metrics_of_code()


def test_every_alert_has_its_runbook() -> None:
    site = re.escape("{{ $externalLabels.runbooks }}")
    alerts = re.findall(r"- alert: (\w+)$.*?runbook_url: (.*?)$", rules(), re.MULTILINE | re.DOTALL)
    chapter = (ROOT / "docs" / "observability.md").read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    for alert, url in alerts:
        page = re.fullmatch(rf'"{site}/observability\.html#(\w+)"', url)
        assert page, url
        assert page[1] == alert.lower()
    assert re.findall(r"^### (\w+)$", chapter, re.MULTILINE) == [alert for alert, _ in alerts]


def test_promtool_accepts_the_alert_rules_and_each_is_raised_by_its_fault() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    for command in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        subprocess.run([promtool, *command], cwd=ROOT / "examples" / "prometheus", check=True, capture_output=True)
