import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pendulum import datetime

from dialer.domain.contact import CONTACT_FIELDS, NewContact, parse_contact
from dialer.domain.timezones import is_known_zone
from dialer.errors import InvalidInput

NUMBER = "+12025550100"


def read(fields: dict[str, str | None], variables: dict[str, str]) -> NewContact:
    return parse_contact(fields, variables, default_region="US", batch_timezone="Europe/Berlin")


def parse(variables: dict[str, str] | None = None, **fields: str | None) -> NewContact:
    return read({"phone_number": NUMBER, **fields}, variables or {})


def refusal(variables: dict[str, str] | None = None, **fields: str | None) -> str:
    with pytest.raises(InvalidInput) as refused:
        parse(variables, **fields)
    return str(refused.value)


def test_a_number_alone_is_a_contact_with_defaults() -> None:
    assert parse() == NewContact(NUMBER, None, None, 5, None, None, {})


def test_every_field_is_read_without_the_spaces_around_it() -> None:
    contact = parse(
        {"city": " Rome "},
        phone_number=" (202) 555-0100",
        name=" Ada ",
        timezone="Asia/Tokyo ",
        priority=" 1",
        external_id="x-7\n",
        expires_at=" 2030-01-31T18:00Z ",
    )
    assert contact == NewContact(NUMBER, "Ada", "Asia/Tokyo", 1, "x-7", datetime(2030, 1, 31, 18), {"city": " Rome "})


def test_none_and_blank_are_absent() -> None:
    assert parse(name=None, timezone="", priority="  ", external_id=None, expires_at="\t") == parse()


@pytest.mark.parametrize("priority", ["0", "11", "-1", "1.0", "1_0", "high", "٣", "05"])
def test_a_priority_that_is_no_whole_number_from_1_to_10_is_refused(priority: str) -> None:
    assert refusal(priority=priority) == "priority: must be a whole number from 1 to 10"


@pytest.mark.parametrize(
    "zone", ["europe/berlin", "CET+1", "Mars/Olympus", "../etc/passwd", "America", "localtime", "Europe/Berlin\0"]
)
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    assert not is_known_zone(zone)
    assert refusal(timezone=zone) == "timezone: is not a known time zone; write it as in Europe/Berlin"


@pytest.mark.parametrize("field", ["name", "external_id"])
def test_a_text_may_have_255_characters_and_no_more(field: str) -> None:
    assert getattr(read({"phone_number": NUMBER, field: "é" * 255}, {}), field) == "é" * 255
    with pytest.raises(InvalidInput, match=f"^{field}: is longer than 255 characters$"):
        read({"phone_number": NUMBER, field: "é" * 256}, {})


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_what_postgres_cannot_store_is_refused_wherever_it_stands(text: str) -> None:
    reason = "has a character that cannot be stored (NUL, or half of a surrogate pair)"
    assert refusal(name=text) == f"name: {reason}"
    assert refusal(external_id=text) == f"external_id: {reason}"
    assert refusal({text: "x"}) == f"variables: {reason}"
    assert refusal({"x": text}) == f"variables: {reason}"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2030-07-01T10:00", datetime(2030, 7, 1, 8)),
        ("2030-01-01 10:00:30", datetime(2030, 1, 1, 9, 0, 30)),
        ("2030-07-01T10:00-04:00", datetime(2030, 7, 1, 14)),
        ("20300701T100000Z", datetime(2030, 7, 1, 10)),
    ],
)
def test_a_time_without_offset_is_read_in_the_batchs_zone(text: str, moment: object) -> None:
    assert parse(expires_at=text).expires_at == moment
    assert parse(not_before=text).not_before == moment


@pytest.mark.parametrize("expires_at", ["2030-07-01T10:00", "2030-07-01T09:59"])
def test_a_contact_that_expires_before_it_may_be_called_is_refused(expires_at: str) -> None:
    assert refusal(not_before="2030-07-01T10:00", expires_at=expires_at) == (
        "not_before: must be earlier than expires_at"
    )


@pytest.mark.parametrize("text", ["soon", "12:00", "31.01.2030 18:00", "P1D", "0001-01-01T00:00+14:00"])
def test_what_is_no_time_in_iso_8601_is_refused(text: str) -> None:
    assert refusal(expires_at=text) == "expires_at: must be a time in ISO 8601, as in 2030-01-31T18:00+01:00"
    assert refusal(not_before=text) == "not_before: must be a time in ISO 8601, as in 2030-01-31T18:00+01:00"


def test_a_day_that_does_not_exist_is_named() -> None:
    assert refusal(expires_at="2030-02-30T10:00") == "expires_at: 2030-02-30 does not exist"


@pytest.mark.parametrize("text", ["2030-01-31", "20300131", "2030-W05-4"])
def test_a_date_without_a_time_of_day_is_refused_as_ambiguous(text: str) -> None:
    assert refusal(expires_at=text) == "expires_at: needs a time of day, as in 2030-01-31T18:00"


def test_variables_may_take_16_kib_as_json_and_no_more() -> None:
    room = 16 * 1024 - len(json.dumps({"note": ""}))
    assert parse({"note": "x" * room}).variables["note"] == "x" * room
    assert refusal({"note": "x" * (room + 1)}) == "variables: are larger than 16 KiB as JSON"
    assert refusal({"note": "é" * (room // 2 + 1)}) == "variables: are larger than 16 KiB as JSON"


def test_a_variable_name_may_have_64_characters_and_must_have_one() -> None:
    assert parse({"v" * 64: "x"}).variables == {"v" * 64: "x"}
    assert refusal({"v" * 65: "x"}) == f"variables: the name {'v' * 20}… is longer than 64 characters"
    assert refusal({"": "x"}) == "variables: one of them has no name"


@given(
    st.dictionaries(st.sampled_from(CONTACT_FIELDS), st.none() | st.text(st.characters(codec=None))),
    st.dictionaries(st.text(), st.text()),
)
def test_any_text_in_any_field_is_read_or_refused_by_name(
    fields: dict[str, str | None], variables: dict[str, str]
) -> None:
    try:
        contact = parse_contact({"phone_number": NUMBER} | fields, variables, default_region=None, batch_timezone="UTC")
    except InvalidInput as error:
        refused = {field_error.field for field_error in error.errors}
    else:
        refused = set()
        assert 1 <= contact.priority <= 10
    assert refused <= {*CONTACT_FIELDS, "variables"}


def test_a_time_in_the_missing_hour_is_read_with_the_offset_before_it() -> None:
    contact = parse_contact(
        {"phone_number": "+12025550100", "expires_at": "2026-03-29T02:30"},
        {},
        default_region=None,
        batch_timezone="Europe/Berlin",
    )
    assert contact.expires_at == datetime(2026, 3, 29, 1, 30)
