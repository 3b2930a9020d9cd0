"""Every figure of `dialer bench` is taken in its smallest size, on one engine."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from dialer.bench import report
from dialer.bench.figure import Size
from dialer.cli.bench import NAMES

COLUMNS = {
    "memory": {"process", "started_pss_mib", "after_rss_mib"},
    "carried": {"workers", "batches", "calls_per_second", "engine_ms", "worker_ms", "postgres_ms", "network_ms"},
    "import": {"contacts_per_second", "more_memory_mib", "copied_per_second", "share_of_copy"},
    "bulk": {"change", "contacts", "answered_seconds", "done_seconds"},
    "api": {"request", "clients", "per_second", "median_ms", "p95_ms", "api_cpu_ms"},
    "refill": {"slots", "refills", "median_ms", "p99_ms", "utilisation"},
    "rate": {"calls_per_second", "used_share", "most_in_any_second"},
    "tick": {"active_batches", "due", "tick_ms"},
    "claim": {"stored_contacts", "dispatch_ms", "dispatch_sql_ms", "settle_ms", "settle_sql_ms"},
    "explain": {"stored_contacts", "batch_ms", "batch_sql_ms", "contact_ms", "contact_sql_ms"},
    "forecast": {"contacts", "days", "seconds", "cpu_seconds", "sql_ms"},
    "commands": {"command", "cpu_ms", "took_ms"},
}


@pytest.fixture(scope="module")
def taken() -> dict[str, Any]:
    """The JSON of one quick run."""
    report_of_all = report.take(NAMES, Size.QUICK, lambda _: None)
    assert report_of_all.is_clean
    return dict(json.loads(report_of_all.to_json()))


def rows_of(taken: dict[str, Any], name: str) -> Sequence[dict[str, Any]]:
    return list(taken["figures"][name]["rows"])


def test_the_report_names_the_machine_and_the_versions(taken: dict[str, Any]) -> None:
    assert {"cpu", "cores", "memory_gib", "python", "postgres", "redis", "dialer", "commit"} <= set(taken["machine"])
    assert taken["size"] == "quick"


def test_every_figure_is_taken_and_no_audit_finds_anything(taken: dict[str, Any]) -> None:
    assert list(taken["figures"]) == list(COLUMNS) == list(NAMES) == list(report.FIGURES)
    assert [name for name, figure in taken["figures"].items() if figure["violations"]] == []


@pytest.mark.parametrize("name", COLUMNS)
def test_the_rows_of_a_figure_have_its_columns(name: str, taken: dict[str, Any]) -> None:
    rows = rows_of(taken, name)
    assert rows
    for row in rows:
        assert COLUMNS[name] <= set(row)


def test_the_cpu_time_and_the_memory_of_every_kind_of_process_are_known(taken: dict[str, Any]) -> None:
    kinds = {"worker", "listener", "beat", "api", "network", "postgres", "redis"}
    assert {row["process"] for row in rows_of(taken, "memory")} == kinds
    assert all(row["started_pss_mib"] > 0 for row in rows_of(taken, "memory"))
    (carried,) = rows_of(taken, "carried")
    assert kinds == {name.removesuffix("_ms") for name in carried if name.endswith("_ms")} - {"engine"}
    assert carried["calls_per_second"] > 0
    assert carried["worker_ms"] > 0
