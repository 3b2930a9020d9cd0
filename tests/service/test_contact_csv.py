import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pendulum import datetime

from dialer.domain.contact import NewContact
from dialer.domain.import_result import RejectedRow
from dialer.errors import UnreadableFile
from dialer.service.contact_csv import read_contacts

NUMBER = "+12025550100"


def read(content: str | bytes, region: str | None = "US") -> list[NewContact | RejectedRow]:
    stream = io.BytesIO(content.encode() if isinstance(content, str) else content)
    return list(read_contacts(stream, default_region=region, batch_timezone="Europe/Berlin"))


def contact(variables: dict[str, str] | None = None, **fields: object) -> NewContact:
    defaults = {"name": None, "timezone": None, "priority": 5, "external_id": None, "expires_at": None}
    return NewContact(phone_number=NUMBER, variables=variables or {}, **(defaults | fields))  # type: ignore[arg-type]


def refusal(content: str | bytes) -> str:
    with pytest.raises(UnreadableFile) as refused:
        read(content)
    return str(refused.value)


def test_known_columns_are_fields_and_all_others_are_variables() -> None:
    header = "phone,name,timezone,priority,external_id,expires_at,City,Next visit"
    row = f"{NUMBER},Ada,Asia/Tokyo,1,x7,2030-07-01T10:00,Rome,Monday"
    assert read(f"{header}\n{row}\n") == [
        contact(
            {"City": "Rome", "Next visit": "Monday"},
            name="Ada",
            timezone="Asia/Tokyo",
            priority=1,
            external_id="x7",
            expires_at=datetime(2030, 7, 1, 8),
        )
    ]


@pytest.mark.parametrize(
    "column",
    ["phone", "phone_number", "PHONE", " Phone ", "Phone Number", "phone-number", "PhoneNumber", '"phone\nnumber"'],
)
def test_the_phone_column_is_found_in_any_spelling(column: str) -> None:
    assert read(f"city,{column}\nRome,{NUMBER}") == [contact({"city": "Rome"})]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_cells_are_read_without_the_spaces_around_them_and_empty_ones_are_absent(delimiter: str) -> None:
    content = f"phone,name,city,note\n {NUMBER} ,  ,\u00a0Rome , \n".replace(",", delimiter)
    assert read(content) == [contact({"city": "Rome"})]


def test_quoted_cells_may_hold_delimiters_quotes_and_line_breaks() -> None:
    assert read(f'phone, name, note\n"{NUMBER}", "Doe, ""Jane""", "a\r\nb"\n') == [
        contact({"note": "a\r\nb"}, name='Doe, "Jane"')
    ]


def test_cells_missing_at_the_end_of_a_row_are_empty() -> None:
    assert read(f"phone,name,city\n{NUMBER}\n") == [contact()]


def test_a_delimiter_at_the_end_of_every_line_does_no_harm() -> None:
    assert read(f"phone,name,,\n{NUMBER},Ada,,\n{NUMBER},Ada, , ,\n") == [contact(name="Ada")] * 2


@pytest.mark.parametrize(("header", "column"), [("phone,name", 3), ("phone,,name", 2)])
def test_a_value_without_a_name_in_the_header_spoils_its_row_alone(header: str, column: int) -> None:
    rows = read(f"{header}\n{NUMBER},Doe,Jane\n{NUMBER}\n")
    reason = f"row: has a value in column {column}, which the header does not name"
    assert rows == [RejectedRow(2, NUMBER, reason), contact()]


def test_bad_rows_are_reported_with_their_line_and_the_good_ones_are_read() -> None:
    content = (
        f'phone,name,priority\n{NUMBER},Ada\n\n12,Bob\n,Carl\n{NUMBER},Dora,high\n{NUMBER},"E\nve"\n1-800-FLOWERS,x\n'
    )
    assert read(content) == [
        contact(name="Ada"),
        RejectedRow(4, "12", "phone_number: is too short"),
        RejectedRow(5, None, "phone_number: is empty"),
        RejectedRow(6, NUMBER, "priority: must be a whole number from 1 to 10"),
        contact(name="E\nve"),
        RejectedRow(9, "1-800-FLOWERS", "phone_number: has letters or signs that are no part of a telephone number"),
    ]


def test_national_numbers_need_a_default_region() -> None:
    (error,) = read("phone\n(202) 555-0100", region=None)
    assert error == RejectedRow(2, "(202) 555-0100", "phone_number: has no country code and no default region is set")
    assert read("phone\n(202) 555-0100") == [contact()]


def test_a_long_text_in_the_phone_column_is_reported_cut() -> None:
    (error,) = read("phone\n" + "x" * 1000)
    assert isinstance(error, RejectedRow)
    assert error.phone_number == "x" * 40


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file: is empty"),
        (",,\n\n", "file: is empty"),
        ("name;city\nAda;Rome", "file: has no column phone or phone_number; its columns are name, city"),
        (f"{NUMBER},Ada\n", f"file: has no column phone or phone_number; its columns are {NUMBER}, Ada"),
        ("phone,Phone Number\n", "file: has more than one column for phone_number"),
        ("phone,city,name, city \n", "file: has more than one column for city"),
        ("phone," + "v" * 65, f"file: the column name {'v' * 40} is longer than 64 characters"),
        (f"phone\n{NUMBER}\n".encode() + b"\xff", "file: line 3 is not UTF-8; save the file as UTF-8"),
    ],
)
def test_an_unusable_file_is_refused_as_a_whole(content: str | bytes, message: str) -> None:
    assert refusal(content) == message


def test_a_refusal_names_no_more_than_ten_columns_and_cuts_them() -> None:
    names = ["n" * 60, *(f"c{index}" for index in range(20))]
    shown = ", ".join(["n" * 40, *(f"c{index}" for index in range(9))])
    assert refusal(",".join(names)) == f"file: has no column phone or phone_number; its columns are {shown}, …"


@given(st.binary() | st.binary().map(lambda content: b"phone,name\n" + content))
def test_any_bytes_are_contacts_and_row_errors_or_a_refusal(content: bytes) -> None:
    try:
        rows = read(content)
    except UnreadableFile:
        return
    assert all(isinstance(row, NewContact | RejectedRow) for row in rows)


cells = st.text(st.characters(codec="utf-8", exclude_characters='\0\r\n,;"\t'), max_size=20)
numbers = st.sampled_from([NUMBER, "(202) 555-0100", "12", "nobody"])


@given(st.lists(st.tuples(numbers, cells, cells, cells)))
def test_every_line_of_data_is_one_contact_or_one_error(table: list[tuple[str, ...]]) -> None:
    content = "\n".join(map(",".join, [("phone", "name", "expires_at", "timezone"), *table]))
    assert len(read(content)) == len(table)
