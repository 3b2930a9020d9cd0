"""How figures are computed and shown, without an engine."""

import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from dialer.bench import contact_list, process_usage
from dialer.bench.figure import Figure, Size, medians
from dialer.bench.refill import Used, Work, count, summary
from dialer.bench.report import Report, table, title
from dialer.domain.phone import normalise


@dataclass(frozen=True)
class Call:
    start: float
    end: float | None


def test_the_numbers_of_contacts_are_valid_and_all_different() -> None:
    phones = [phone for phone, *_ in (*contact_list.lines(3_000), *contact_list.lines(50, 100_000_000))]
    assert len(set(phones)) == len(phones) == 3_050
    assert [normalise(phone, None) for phone in phones] == phones


def test_a_file_of_contacts_has_a_header_and_a_line_for_each() -> None:
    lines = b"".join(contact_list.csv(2_000, 5)).decode().splitlines()
    assert lines[0] == "phone,name,external_id,plan"
    assert lines[1].endswith("Contact 5,crm-5,gold")
    assert len(lines) == 2_001


def test_the_end_of_a_call_is_paired_with_the_next_start_in_its_slot() -> None:
    work, total = Work((2,), 10.0, 0.0, slots_per_batch=2), Used()
    count([Call(0, 4), Call(0, 6), Call(4.5, 8), Call(6.25, None)], work, total)
    assert sorted(total.delays) == [250, 500]
    # Two slots from 0 to 6.25 s; one was empty for 0.5 s, the other for 0.25 s.
    assert summary(total)["utilisation"] == pytest.approx((12.5 - 0.75) / 12.5)


def test_ends_of_the_time_that_is_skipped_are_not_counted() -> None:
    work, total = Work((1,), 10.0, 5.0, slots_per_batch=1), Used()
    count([Call(0, 4), Call(4.5, 8), Call(8.125, 9)], work, total)
    assert total.delays == [125]


def test_without_a_refill_there_are_no_delays() -> None:
    assert summary(Used())["median_ms"] is None


def test_the_median_of_repeats_is_taken_of_each_column() -> None:
    assert medians([{"a": 1, "b": "x"}, {"a": 9, "b": "x"}, {"a": 2, "b": "x"}]) == {"a": 2, "b": "x"}


def test_a_table_has_aligned_columns() -> None:
    assert table([{"name": "a", "n": 1234.5}, {"name": "bbbbb", "n": None}]).splitlines() == [
        " name      n",
        "    a  1,234",
        "bbbbb      -",
    ]


def test_a_broken_promise_is_in_the_title_and_makes_the_report_unclean() -> None:
    assert "AUDIT: 2 VIOLATIONS" in title("carried", Figure([], 2), 1.0)
    assert not Report({}, Size.QUICK, {"tick": Figure([]), "carried": Figure([], 2)}).is_clean
    assert Report({}, Size.QUICK, {"tick": Figure([]), "carried": Figure([], 0)}).is_clean


def test_cpu_time_includes_children_and_a_process_that_has_ended_counts_nothing() -> None:
    burn = "import subprocess, sys, time; t = time.process_time()\nwhile time.process_time() - t < 0.1: pass"
    before = process_usage.cpu_seconds({"test": os.getpid()})["test"]
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert process_usage.cpu_seconds({"test": os.getpid()})["test"] - before > 0.09
    assert process_usage.cpu_seconds({"worker-1": 2**22 + 1}) == {"worker": 0.0}
