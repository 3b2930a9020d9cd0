"""One contact to be called: fields as text go in, from a CSV row or a JSON body; a validated contact comes out.

Nothing is looked up here: the store checks whether the number is in the batch already, or suppressed.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from pendulum import DateTime

from dialer.domain.calling_rules import EVERYTHING, REASONS, CallingRules
from dialer.domain.field_reasons import impossible_day
from dialer.domain.phone import normalise
from dialer.domain.timezones import is_known_zone, moment_of
from dialer.errors import InvalidInput

MAX_TEXT_CHARACTERS = 255
MAX_VARIABLE_NAME_CHARACTERS = 64
MAX_VARIABLES_BYTES = 16 * 1024
DEFAULT_PRIORITY = 5

CONTACT_FIELDS = ("phone_number", "name", "timezone", "priority", "external_id", "expires_at", "not_before")

# A variable of a contact, which is passed to its agent: text from a CSV file, any scalar from JSON.
Variable = str | int | float | bool | None

_PRIORITIES = {str(priority): priority for priority in range(1, 11)}
# NUL and surrogates: a JSON string may contain them, PostgreSQL cannot store them.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_JSON = json.JSONEncoder(ensure_ascii=False)


class WaitsFor(StrEnum):
    """What a contact in the status `waiting` waits for. It is pending again once `due_at` has come."""

    RETRY = "retry"  #: Its next attempt, after the last one.
    NOT_BEFORE = "not_before"  #: The time before which it must not be called, given when it was added.
    CALLBACK = "callback"  #: The time at which its person wants to be called back.
    PERSON_IN_CALL = "person_in_call"  #: The end of another call to its person, whatever `due_at` is.
    PERSON_LIMIT = "person_limit"  #: The time at which the limits of its person allow another call.


@dataclass(frozen=True, slots=True)
class NewContact:
    """A contact that may be stored."""

    phone_number: str  #: E.164.
    name: str | None  #: Passed to the agent.
    timezone: str | None  #: The contact's own IANA time zone. None: derived from the number, where the batch wants it.
    priority: int  #: 1 to 10; 1 is called first.
    external_id: str | None  #: The operator's own id of the contact; returned in the results.
    expires_at: DateTime | None  #: Not called from then on. None: it never expires.
    variables: Mapping[str, Variable]  #: Passed to the agent.
    not_before: DateTime | None = None  #: Not called before. None: it may be called at once.


def parse_contact(
    fields: Mapping[str, str | None],
    variables: Mapping[str, Variable],
    *,
    default_region: str | None,
    batch_timezone: str,
    rules: CallingRules = EVERYTHING,
) -> NewContact:
    """Check the CONTACT_FIELDS and the variables; InvalidInput names the first field that is wrong, and why.

    A field that is not there, None or blank is absent. `expires_at` and `not_before` are ISO 8601 with a time of day;
    without an offset they are read in `batch_timezone`. Variables are kept as they are. `rules`: what may be called.
    """
    given = {field: text for field, value in fields.items() if value and (text := value.strip())}
    _check_variables(variables)
    phone_number = normalise(given.get("phone_number", ""), default_region)
    if reason := rules.refusal(phone_number):
        raise InvalidInput.of("phone_number", REASONS[reason])
    expires_at = _moment("expires_at", given.get("expires_at"), batch_timezone)
    not_before = _moment("not_before", given.get("not_before"), batch_timezone)
    if expires_at and not_before and expires_at <= not_before:
        raise InvalidInput.of("not_before", "must be earlier than expires_at")
    return NewContact(
        phone_number=phone_number,
        name=_text("name", given.get("name")),
        timezone=_timezone(given.get("timezone")),
        priority=_priority(given.get("priority")),
        external_id=_text("external_id", given.get("external_id")),
        expires_at=expires_at,
        variables=variables,
        not_before=not_before,
    )


def _text(field: str, text: str | None) -> str | None:
    if text is None:
        return None
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidInput.of(field, f"is longer than {MAX_TEXT_CHARACTERS} characters")
    _check_storable(field, text)
    return text


def _timezone(text: str | None) -> str | None:
    if text is not None and not is_known_zone(text):
        raise InvalidInput.of("timezone", "is not a known time zone; write it as in Europe/Berlin")
    return text


def _priority(text: str | None) -> int:
    if text is None:
        return DEFAULT_PRIORITY
    if text not in _PRIORITIES:
        raise InvalidInput.of("priority", "must be a whole number from 1 to 10")
    return _PRIORITIES[text]


def _moment(field: str, text: str | None, batch_timezone: str) -> DateTime | None:
    if text is None:
        return None
    if _is_date(text):
        # The day's beginning and its end are both what people mean by "expires on".
        raise InvalidInput.of(field, "needs a time of day, as in 2030-01-31T18:00")
    try:
        return moment_of(datetime.fromisoformat(text), batch_timezone)
    except (ValueError, OverflowError):
        reason = impossible_day(text) or "must be a time in ISO 8601, as in 2030-01-31T18:00+01:00"
        raise InvalidInput.of(field, reason) from None


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _check_variables(variables: Mapping[str, Variable]) -> None:
    characters = 0
    for name, value in variables.items():
        characters += len(name) + len(str(value)) + len('"": ""')
        if not name:
            raise InvalidInput.of("variables", "one of them has no name")
        if len(name) > MAX_VARIABLE_NAME_CHARACTERS:
            reason = f"the name {name[:20]}… is longer than {MAX_VARIABLE_NAME_CHARACTERS} characters"
            raise InvalidInput.of("variables", reason)
        _check_storable("variables", name)
        if isinstance(value, str):
            _check_storable("variables", value)
    # No character takes more than six bytes as JSON, so few variables have to be encoded to know their size.
    if 6 * characters > MAX_VARIABLES_BYTES and len(_JSON.encode(variables).encode()) > MAX_VARIABLES_BYTES:
        raise InvalidInput.of("variables", f"are larger than {MAX_VARIABLES_BYTES // 1024} KiB as JSON")


def _check_storable(field: str, text: str) -> None:
    if _UNSTORABLE.search(text):
        raise InvalidInput.of(field, "has a character that cannot be stored (NUL, or half of a surrogate pair)")
