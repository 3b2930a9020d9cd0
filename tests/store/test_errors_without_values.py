"""No error of the database repeats the values of its statement: errors end up in logs."""

import traceback
from collections.abc import Callable
from random import Random
from typing import cast

import psycopg
import pytest
from sqlalchemy import Connection

from dialer.domain.contact import NewContact
from dialer.domain.ids import uuid7
from dialer.store import contact_import, quarantine
from dialer.store.database import Database, run
from support.world import World

WHO = "Ada Lovelace"
PHONE = "+4930901820"
ROW = "INSERT INTO secrets_of_people (name, phone, priority) VALUES (:name, :phone, CAST(:priority AS text)::smallint)"


def table(connection: Connection) -> None:
    run(
        connection,
        "CREATE TEMPORARY TABLE secrets_of_people (name text NOT NULL, phone text UNIQUE, priority smallint"
        " CHECK (priority < 11)) ON COMMIT DROP",
    )
    run(connection, ROW, name=WHO, phone=PHONE, priority="1")


def store(**changed: object) -> Callable[[Connection], object]:
    def fails(connection: Connection) -> None:
        table(connection)
        run(connection, ROW, **({"name": WHO, "phone": PHONE, "priority": "5"} | changed))

    return fails


FAILURES = {
    "a key that is taken": store(),
    "a check": store(phone=f"{PHONE}1", priority="12"),
    "a null": store(phone=None, name=None),
    "text that is no number": store(priority=f"{WHO} {PHONE}"),
    "a number that is too large": store(priority="99999"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_an_error_of_a_statement_repeats_none_of_its_values(db: Database, what: str) -> None:
    with pytest.raises(Exception) as raised, db.begin() as connection:  # noqa: PT011  # whichever it is
        FAILURES[what](connection)
    shown = "".join(traceback.format_exception(raised.value)) + quarantine.fault_of(raised.value).error
    assert "secrets_of_people" in shown
    for value in (WHO, PHONE, "99999"):
        assert value not in shown


def test_an_error_of_a_bulk_import_repeats_none_of_its_rows(world: World) -> None:
    contact = NewContact(PHONE, WHO, None, cast(int, f"{WHO} {PHONE}"), None, None, {})
    with pytest.raises(psycopg.Error) as raised, world.db.session() as session:
        contact_import.stage(session, [(uuid7(world.clock.now, Random(1)), contact, "")])
    shown = "".join(traceback.format_exception(raised.value))
    assert WHO not in shown
    assert PHONE not in shown
