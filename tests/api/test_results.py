"""`results.csv`: a row a contact, safe for spreadsheets, streamed."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.conftest import Api, Draft
from dialer.domain.call import CallFacts, HungUpBy
from dialer.service.results import COLUMNS, cell
from dialer.store.database import STREAMED_ROWS
from support.deadline import wait_until
from support.engine_steps import dispatch_and_place, end_call, live_attempts
from support.world import World


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_contact_has_a_row_that_says_how_it_ended(client: TestClient, draft: Draft, world: World) -> None:
    batch = draft(contacts=8, retry_failed=True, max_retry_attempts=1)
    path = f"/batch-calls/{batch['id']}"
    client.post(f"{path}/contacts", json={"contacts": [{"phone_number": "+12025550180", "variables": {"a": 1}}]})
    client.post("/suppressions", json={"phone_number": "+12025550101"})
    client.post(f"{path}/schedule")
    world.run(lambda: client.get(path).json()["data"]["status"] == "completed")
    answer = client.get(f"{path}/results.csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="results-{batch["id"]}.csv"'
    rows = table(answer.text)
    assert list(rows[0]) == list(COLUMNS)
    assert [row["phone_number"][-3:] for row in rows] == [*(str(line) for line in range(100, 108)), "180"]
    people = client.get(f"{path}/contacts").json()["data"]
    for row, contact in zip(rows, people, strict=True):
        assert (row["status"], row["outcome"]) == (contact["status"], contact["outcome"] or "")
        assert int(row["attempts"]) == contact["attempts"]
        calls = client.get(f"{path}/contacts/{contact['id']}").json()["data"]["calls"]
        assert row["from_number"] == (calls[-1]["from_number"] if calls else "")
        assert (row["first_attempt_at"] == row["last_attempt_at"]) == (len(calls) <= 1)
    assert (rows[1]["status"], rows[1]["status_reason"], rows[1]["from_number"]) == ("skipped", "suppressed", "")
    assert rows[-1]["variables"] == '{"a": 1}'
    world.sql("INSERT INTO attempts_archive SELECT * FROM attempts")
    world.sql("DELETE FROM attempts")
    assert client.get(f"{path}/results.csv").text == answer.text


def test_what_the_network_said_is_in_the_calls_and_in_the_results(
    client: TestClient, draft: Draft, world: World
) -> None:
    batch = draft(contacts=1)
    path = f"/batch-calls/{batch['id']}"
    client.post(f"{path}/schedule")
    dispatch_and_place(world, batch["id"])
    end_call(world, live_attempts(world)[0], "busy", facts=CallFacts(486, 17, "c-1@carrier", HungUpBy.CALLEE))
    (call,) = client.get(f"{path}/calls").json()["data"]
    (row,) = table(client.get(f"{path}/results.csv").text)
    names = ("sip_code", "q850_cause", "sip_call_id", "hung_up_by")
    assert [call[name] for name in names] == [486, 17, "c-1@carrier", "callee"]
    assert [row[name] for name in names] == ["486", "17", "c-1@carrier", "callee"]
    contact = client.get(f"{path}/contacts/{call['contact_id']}").json()["data"]
    assert contact["calls"] == [call]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("+12025550101", "+12025550101"),
        ("+1202555010x", "'+1202555010x"),
        ("Ada", "Ada"),
        ("a=b", "a=b"),
        (None, ""),
        (0, "0"),
        (-1, "'-1"),
    ],
)
def test_what_a_spreadsheet_would_run_is_made_text(value: Any, written: str) -> None:
    assert cell(value) == written


def test_names_that_are_formulas_are_made_text(client: TestClient, draft: Draft) -> None:
    path = f"/batch-calls/{draft()['id']}"
    client.post(f"{path}/contacts", json={"contacts": [{"phone_number": "+12025550101", "name": "=HYPERLINK(1)"}]})
    (row,) = table(client.get(f"{path}/results.csv").text)
    assert (row["name"], row["phone_number"]) == ("'=HYPERLINK(1)", "+12025550101")


def many(world: World, batch_id: str, count: int) -> None:
    world.sql(
        """
        INSERT INTO contacts (id, batch_id, phone_number, name)
        SELECT gen_random_uuid(), :batch, '+1202' || (2000000 + n), repeat('x', 2000)
        FROM generate_series(1, :count) AS n
        """,
        batch=batch_id,
        count=count,
    )


def test_a_client_that_goes_away_midway_gives_its_connection_back(api: Api, draft: Draft, world: World) -> None:
    batch_id = draft()["id"]
    # 16 MB: more than the buffers of a connection take.
    many(world, batch_id, 8 * STREAMED_ROWS)
    # In a transaction, or at a statement of it: between two pieces it is now this, now that.
    reading = """
        SELECT count(*) FROM pg_stat_activity
        WHERE state <> 'idle' AND query LIKE '%FETCH%' AND pid <> pg_backend_pid()
        """
    with api.served() as served:
        with served.client.stream("GET", f"/batch-calls/{batch_id}/results.csv") as answer:
            pieces: Iterator[bytes] = answer.iter_bytes()
            # The heading comes before the transaction begins; once there are rows, it has begun.
            head = next(pieces)
            while head.count(b"\n") < 2:
                head += next(pieces)
            assert head.startswith(b"contact_id,")
        wait_until(lambda: not world.value(reading))
        whole = served.client.get(f"/batch-calls/{batch_id}/results.csv")
        assert whole.text.count("\n") == 8 * STREAMED_ROWS + 1
