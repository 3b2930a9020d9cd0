"""Lists are read by key: the pages of the console count nothing, skip nothing, and read no table from its beginning."""

import html
import re
from collections.abc import Iterator

import pytest

from api.conftest import Api
from console.signed_in_client import SignedInClient, client_of, text_of
from support.recorded_statements import Statement, recorded_statements, sequentially_scanned_tables
from support.world import World, made_up_phones

MANY = 3_000
ORIGIN_OF_FORM = {"Origin": "http://testserver"}


@pytest.fixture
def admin(api: Api) -> Iterator[SignedInClient]:
    with client_of(api) as client:
        yield client


def suppress(world: World, numbers: list[str]) -> None:
    world.sql(
        """
        INSERT INTO suppressions (workspace_id, phone_number)
        SELECT :workspace, unnest(CAST(:numbers AS text[]))
        """,
        workspace=world.installed.workspace_id,
        numbers=numbers,
    )


def statements_of(world: World, admin: SignedInClient, address: str) -> list[Statement]:
    """Load a page; return the statements that read rows for it."""
    sent = recorded_statements(world.db, lambda: admin.get(address).raise_for_status())
    assert sent
    return sent


def test_no_page_of_a_list_counts_or_skips_rows_or_scans_a_table(admin: SignedInClient, world: World) -> None:
    batch_id = world.batch(MANY)
    numbers = [f"+1305555{n:04}" for n in range(MANY)]
    suppress(world, numbers)
    world.sql("ANALYZE contacts, suppressions")
    position = world.value("SELECT position FROM contacts ORDER BY position OFFSET :n LIMIT 1", n=MANY - 200)
    contacts = f"/console/batches/{batch_id}/contacts"
    pages = {
        "/console": {"contacts"},
        f"/console?before={batch_id}": {"contacts"},
        f"{contacts}?after={position}": {"contacts"},
        f"{contacts}?status=pending&after={position}": {"contacts"},
        # No index has outcomes: a page reads on until it is full.
        f"{contacts}?outcome=busy": set(),
        f"{contacts}?phone_number=%2B12015550000": {"contacts"},
        f"{contacts}?external_id=x": {"contacts"},
        f"/console/system/suppressions?after={numbers[-200].replace('+', '%2B')}": {"suppressions"},
    }
    for address, tables in pages.items():
        for statement in statements_of(world, admin, address):
            sql = re.sub(r"\s+", " ", statement.sql)
            assert not re.search(r"SELECT count\(\*\) AS n FROM (contacts|batches|suppressions)", sql), address
            assert "OFFSET" not in sql or "agents" in sql, (address, sql)
            with world.db.begin() as connection:
                scanned = sequentially_scanned_tables(connection, statement) if sql.startswith("SELECT") else set()
            assert not scanned & tables, (address, sql)


def test_every_contact_is_on_one_page(admin: SignedInClient, world: World) -> None:
    phones = made_up_phones(230)
    batch_id = world.batch(phones)
    contacts = f"/console/batches/{batch_id}/contacts"
    seen, address = list[str](), contacts
    while address:
        page = admin.get(address).text
        seen += re.findall(r'<th scope="row" class="phone"><a [^>]+>(\+\d+)</a>', page)
        following = re.search(r'href="(\?after=\d+)">Next page', page)
        address = contacts + following[1] if following else ""
    assert seen == phones


def test_every_suppressed_number_is_on_one_page_and_is_found(admin: SignedInClient, world: World) -> None:
    numbers = [f"+1305555{n:04}" for n in range(120)]
    suppress(world, numbers)
    root = "/console/system/suppressions"
    seen, address = list[str](), root
    while address:
        page = admin.get(address).text
        seen += re.findall(r'<th scope=row class="phone"><a [^>]+>(\+\d+)</a>', page)
        following = re.search(r'href="(\?after=[^"]+)">Next page', page)
        address = root + following[1] if following else ""
    assert seen == numbers
    assert re.findall(r"\+1305555\d{4}", admin.get(root, search="0042").text) == ["+13055550042"]
    assert "None matches" in admin.get(root, search="999999").text


def test_a_list_of_suppressions_is_loaded(admin: SignedInClient, world: World) -> None:
    load = "/console/system/suppressions/list"
    headers = ORIGIN_OF_FORM | {"X-Form-Token": admin.token}
    file = {"file": ("do-not-call.csv", "phone,reason\n+12025550112,<b>asked</b>\n12,\n")}
    loaded = admin.http.post(load, files=file, headers=headers)
    assert "1 number loaded. 1 row rejected" in text_of(loaded)
    assert "&lt;b&gt;asked&lt;/b&gt;" in admin.get("/console/system/suppressions").text
    refused = admin.http.post(load, files={"file": ("x.csv", "name\nAda\n")}, headers=headers)
    assert (refused.status_code, "Nothing of this file was loaded" in refused.text) == (422, True)


def test_the_export_has_exactly_the_contacts_that_the_filter_shows(admin: SignedInClient, world: World) -> None:
    batch_id = world.batch(["+12025550101", "+12025550102", "+12025550103"])
    world.sql("UPDATE contacts SET external_id = 'crm 7&8' WHERE phone_number = '+12025550102'")
    contacts = f"/console/batches/{batch_id}/contacts"
    for filters in ({"phone_number": "+1 202 555 0102"}, {"external_id": "crm 7&8", "status": "pending"}):
        page = admin.get(contacts, **filters)
        (export,) = re.findall(r'href="([^"]+results\.csv[^"]*)">Export these as CSV', page.text)
        lines = admin.get(html.unescape(export)).text.splitlines()
        assert [line.split(",")[1] for line in lines[1:]] == ["+12025550102"]
        assert re.findall(r">(\+1202555\d+)</a>", page.text) == ["+12025550102"]
    wrong = admin.get(contacts, phone_number="nobody")
    assert (wrong.status_code, "phone_number" in wrong.text) == (422, True)
    assert admin.get(f"/console/batches/{batch_id}/results.csv", phone_number="nobody").status_code == 422
