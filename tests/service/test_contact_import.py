"""Loading contacts into a batch, on the real database: the report, the order, and imports that meet other writers."""

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from random import Random
from threading import Barrier, Event
from time import monotonic
from typing import Any, BinaryIO
from uuid import UUID

import pytest
from sqlalchemy import Connection

from dialer.domain.ids import BatchId, WorkspaceId
from dialer.domain.import_result import ImportResult, RejectedRow
from dialer.errors import NotFound, StateConflict, UnreadableFile
from dialer.service import batches, contacts, folders, resources
from dialer.service.folders import NewFolder
from dialer.store.database import rows, run
from support.deadline import DEADLINE_SECONDS
from support.world import MONDAY, World, made_up_phones


def load(world: World, batch_id: BatchId, file: str | bytes | BinaryIO) -> ImportResult:
    data = file.encode() if isinstance(file, str) else file
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    return contacts.import_csv(world.db, world.installed.workspace_id, batch_id, stream, world.clock.now, world.rng)


def csv(phones: Iterable[str]) -> str:
    return "\n".join(["phone", *phones])


def suppress(world: World, phone: str, workspace_id: WorkspaceId | None = None) -> None:
    world.sql(
        "INSERT INTO suppressions (workspace_id, phone_number) VALUES (:workspace, :phone)",
        workspace=workspace_id or world.installed.workspace_id,
        phone=phone,
    )


def stored(world: World, batch_id: BatchId, columns: str = "phone_number") -> list[tuple[Any, ...]]:
    contacts = world.rows(f"SELECT {columns} FROM contacts WHERE batch_id = :id ORDER BY position", id=batch_id)
    return [tuple(row) for row in contacts]


@pytest.fixture
def batch_id(world: World) -> BatchId:
    return world.batch(0, start=False)


def test_every_row_is_counted_once_and_what_was_passed_over_is_reported_with_its_line(
    world: World, batch_id: BatchId
) -> None:
    load(world, batch_id, csv(["+12025550101"]))
    suppress(world, "+12025550103")
    report = load(
        world,
        batch_id,
        "Name;Phone;Priority\n"
        "in the batch already;+12025550101;\n"
        "new;+1 (202) 555-0102;3\n"
        "\n"
        "again, written otherwise;+1-202-555-0102;1\n"
        "suppressed;+12025550103;\n"
        "suppressed again;+12025550103;\n"
        "no number;call me;\n"
        '"two\nlines";+12025550104;\n'
        "wrong priority;+12025550105;11\n",
    )
    assert (report.imported, report.duplicates, report.suppressed, report.rejected) == (2, 2, 2, 2)
    assert [(error.row, error.phone_number) for error in report.errors] == [(8, "call me"), (11, "+12025550105")]
    assert all(isinstance(error, RejectedRow) and error.reason for error in report.errors)
    assert stored(world, batch_id, "phone_number, name, priority") == [
        ("+12025550101", None, 5),
        ("+12025550102", "new", 3),
        ("+12025550104", "two\nlines", 5),
    ]
    assert world.progress(batch_id).total == world.progress(batch_id).pending == 3


def test_only_the_first_hundred_errors_are_shown_but_all_are_counted(world: World, batch_id: BatchId) -> None:
    report = load(world, batch_id, csv([*["nobody"] * 150, "+12025550101"]))
    assert (report.imported, report.rejected) == (1, 150)
    assert [error.row for error in report.errors] == list(range(2, 102))


def test_all_that_a_row_says_is_stored(world: World) -> None:
    batch_id = world.batch(0, start=False, timezone="Europe/Berlin", default_region="DE")
    load(
        world,
        batch_id,
        "phone,name,timezone,priority,external_id,expires_at,Plan,note\n"
        "030 123456,Jürgen,Asia/Kolkata,1,crm-7,2026-06-01T12:00,gold,\n",
    )
    columns = "phone_number, name, timezone, priority, external_id, variables, lane, status, attempts"
    assert stored(world, batch_id, columns) == [
        ("+4930123456", "Jürgen", "Asia/Kolkata", 1, "crm-7", {"Plan": "gold"}, "", "pending", 0)
    ]
    times = "expires_at = '2026-06-01T10:00Z' AS expires, due_at = dialer_now() AS is_due"
    assert stored(world, batch_id, times) == [(True, True)]


def test_a_contact_is_called_in_its_own_zone_or_where_its_number_may_be_if_the_batch_asks_for_that(
    world: World,
) -> None:
    batch_id = world.batch(0, start=False, respect_contact_timezone=True)
    file = "phone,timezone\n+12025550101,Asia/Kolkata\n+12025550102,\n+80012345678,\n"
    assert load(world, batch_id, file).imported == 3
    own, inferred, unknown = (lane for (lane,) in stored(world, batch_id, "lane"))
    assert own == "Asia/Kolkata"
    assert "America/New_York" in inferred.split(",")
    assert "Asia/Kolkata" not in inferred
    assert unknown == ""


def test_numbers_that_another_workspace_suppresses_are_loaded(world: World, batch_id: BatchId) -> None:
    world.sql("INSERT INTO workspaces (id, name) VALUES (:id, 'other')", id=UUID(int=2))
    suppress(world, "+12025550101", WorkspaceId(UUID(int=2)))
    assert load(world, batch_id, csv(["+12025550101"])).imported == 1


def test_twenty_thousand_rows_are_loaded_in_their_order_within_seconds(world: World, batch_id: BatchId) -> None:
    phones, since = made_up_phones(20_000), monotonic()
    Random(5).shuffle(phones)
    assert load(world, batch_id, csv(phones)).imported == 20_000
    assert monotonic() - since < 10
    assert [phone for (phone,) in stored(world, batch_id)] == phones
    assert load(world, batch_id, csv(reversed(phones))).duplicates == 20_000
    assert world.progress(batch_id).total == 20_000


@pytest.mark.parametrize("broken", [b"\xff\xfe not UTF-8\n", b'"a quote that never ends\n'])
def test_nothing_is_stored_of_a_file_that_breaks_at_its_end(world: World, batch_id: BatchId, broken: bytes) -> None:
    phones = made_up_phones(5_000)
    with pytest.raises(UnreadableFile):
        load(world, batch_id, csv(phones).encode() + b"\n" + broken)
    assert (stored(world, batch_id), world.progress(batch_id).total) == ([], 0)
    assert load(world, batch_id, csv(phones)).imported == 5_000


@pytest.mark.parametrize("final", ["completed", "cancelled", "failed"])
def test_a_batch_that_is_over_takes_no_contacts(world: World, final: str) -> None:
    batch_id = world.batch(1)
    world.sql("UPDATE batches SET status = :status WHERE id = :id", status=final, id=batch_id)
    with pytest.raises(StateConflict, match=f"Batch is {final}; contacts cannot be added") as caught:
        load(world, batch_id, csv(["+12025550101"]))
    assert caught.value.code == "batch_is_final"
    assert world.progress(batch_id).total == 1


@pytest.mark.parametrize("going", ["active", "paused"])
def test_a_batch_that_goes_on_takes_contacts_and_an_active_one_is_woken(world: World, going: str) -> None:
    batch_id = world.batch(1)
    world.sql("UPDATE batches SET status = :status WHERE id = :id AND status <> :status", status=going, id=batch_id)
    world.sql("UPDATE batch_progress SET next_dispatch_at = NULL")
    assert load(world, batch_id, csv(["+12025550101"])).imported == 1
    assert world.progress(batch_id).next_dispatch_at == (MONDAY if going == "active" else None)


def test_a_batch_that_is_not_of_this_workspace_is_not_found(world: World, batch_id: BatchId) -> None:
    world.sql("INSERT INTO workspaces (id, name) VALUES (:id, 'other')", id=UUID(int=2))
    world.sql("UPDATE batches SET workspace_id = :other WHERE id = :id", other=UUID(int=2), id=batch_id)
    for unknown in (batch_id, BatchId(UUID(int=1))):
        with pytest.raises(NotFound, match="No such batch in this workspace"):
            load(world, unknown, csv(["+12025550101"]))


# Imports that meet another writer. Each order is forced by locks: nobody moves on before the other one stands where
# it has to.


class Interrupted(io.BytesIO):
    """A file at whose beginning something else happens."""

    def __init__(self, text: str, meanwhile: Callable[[], object]) -> None:
        super().__init__(text.encode())
        self._meanwhile = iter([meanwhile])

    def read(self, size: int | None = -1) -> bytes:
        for meanwhile in self._meanwhile:
            meanwhile()
        return super().read(size)

    def readinto(self, buffer: Any) -> int:
        for meanwhile in self._meanwhile:
            meanwhile()
        return super().readinto(buffer)


@pytest.fixture
def others() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def wait_until_blocked(world: World, waiting: int) -> None:
    blocked = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
        """
    deadline, pause = monotonic() + DEADLINE_SECONDS, Event()
    while world.value(blocked) != waiting:
        assert monotonic() < deadline, f"{waiting} should be waiting for a lock"
        pause.wait(0.01)


@contextmanager
def locked_counts(world: World, batch_id: BatchId) -> Iterator[Connection]:
    with world.db.begin() as connection:
        rows(connection, "SELECT 1 FROM batch_progress WHERE batch_id = :id FOR UPDATE", id=batch_id)
        yield connection


def cancel(world: World, batch_id: BatchId) -> str:
    return batches.cancel(world.db, world.installed.workspace_id, batch_id)


def is_refused(importing: Future[ImportResult]) -> bool:
    error = importing.exception(timeout=DEADLINE_SECONDS)
    return isinstance(error, StateConflict) and error.code == "batch_is_final"


def by_status(world: World, batch_id: BatchId) -> dict[str, int]:
    world.change_pages()
    counts = world.rows("SELECT status, count(*) AS n FROM contacts WHERE batch_id = :id GROUP BY 1", id=batch_id)
    progress = world.progress(batch_id)
    counted = {row.status: row.n for row in counts}
    assert (progress.pending, progress.cancelled) == (counted.get("pending", 0), counted.get("cancelled", 0))
    return counted


def test_a_batch_that_is_cancelled_while_the_file_is_read_takes_nothing_of_it(world: World) -> None:
    batch_id = world.batch(3)
    file = Interrupted(csv(made_up_phones(10, 50)), lambda: cancel(world, batch_id))
    with pytest.raises(StateConflict) as caught:
        load(world, batch_id, file)
    assert caught.value.code == "batch_is_final"
    assert by_status(world, batch_id) == {"cancelled": 3}


def test_an_import_that_stores_while_a_cancellation_is_not_committed_waits_and_is_refused(
    world: World, others: ThreadPoolExecutor
) -> None:
    batch_id = world.batch(3)
    with world.db.begin() as connection:
        run(connection, "UPDATE batches SET status = 'cancelled' WHERE id = :id", id=batch_id)
        importing = others.submit(load, world, batch_id, csv(made_up_phones(10, 50)))
        wait_until_blocked(world, 1)
    assert is_refused(importing)
    assert by_status(world, batch_id) == {"cancelled": 3}


def test_a_cancellation_waits_for_an_import_that_has_stored_and_lets_go_of_its_contacts(
    world: World, others: ThreadPoolExecutor
) -> None:
    batch_id = world.batch(3)
    with world.db.begin() as connection:
        statement = "INSERT INTO contacts (id, batch_id, phone_number) VALUES (gen_random_uuid(), :id, '+12025550199')"
        run(connection, statement, id=batch_id)
        cancelling = others.submit(cancel, world, batch_id)
        wait_until_blocked(world, 1)
    assert cancelling.result(timeout=DEADLINE_SECONDS) == "cancelled"
    assert by_status(world, batch_id) == {"cancelled": 4}


@pytest.mark.parametrize("import_is_first", [True, False])
def test_an_import_and_a_cancellation_that_queue_for_the_same_counts_leave_nothing_pending(
    world: World, others: ThreadPoolExecutor, import_is_first: bool
) -> None:
    batch_id = world.batch(3)

    def queue(act: Callable[..., Any], *more: Any) -> Future[Any]:
        queued = others.submit(act, world, batch_id, *more)
        wait_until_blocked(world, next(places))
        return queued

    places = count(1)
    with locked_counts(world, batch_id):
        first = queue(load, csv(made_up_phones(10, 50))) if import_is_first else queue(cancel)
        second = queue(cancel) if import_is_first else queue(load, csv(made_up_phones(10, 50)))
    importing, cancelling = (first, second) if import_is_first else (second, first)
    assert cancelling.result(timeout=DEADLINE_SECONDS) == "cancelled"
    assert is_refused(importing) is not import_is_first
    assert by_status(world, batch_id) == {"cancelled": 13 if import_is_first else 3}


@pytest.mark.parametrize("into", ["batch", "folder"])
def test_two_imports_of_the_same_numbers_in_opposite_orders_store_each_number_once(
    world: World, batch_id: BatchId, others: ThreadPoolExecutor, into: str
) -> None:
    phones, start = made_up_phones(3_000), Barrier(2)
    workspace_id, now, rng = world.installed.workspace_id, world.clock.now, world.rng
    folder = resources.create(world.db, folders.FOLDER_TYPE, workspace_id, NewFolder(name="f"), now, rng)["id"]

    def begin(order: list[str]) -> ImportResult:
        file = Interrupted(csv(order), lambda: start.wait(timeout=DEADLINE_SECONDS))
        if into == "batch":
            return load(world, batch_id, file)
        return folders.import_csv(world.db, workspace_id, folder, file, now, Random(order[0]))

    reports = list(others.map(begin, [phones, phones[::-1]], timeout=DEADLINE_SECONDS))
    assert sum(report.imported for report in reports) == sum(report.duplicates for report in reports) == 3_000
    assert world.value("SELECT (SELECT count(*) FROM contacts) + (SELECT count(*) FROM folder_contacts)") == 3_000
