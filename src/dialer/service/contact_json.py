"""Contacts in a JSON body. A wrong field refuses the whole body; a contact that cannot be called is only reported."""

from collections.abc import Iterator
from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from dialer.domain.calling_rules import CallingRules
from dialer.domain.contact import NewContact, parse_contact
from dialer.domain.import_result import RejectedRow
from dialer.domain.validation import wrong_field
from dialer.errors import InvalidInput
from dialer.service.fields import InputModel

MAX_CONTACTS = 10_000

MAX_INTEGER = 2**63


def _scalar(value: Any) -> Any:
    """One check in place of a union of five types, which would report five errors of each wrong value."""
    match value:
        case bool() | str() | None:
            return value
        case int() if -MAX_INTEGER <= value < MAX_INTEGER:
            return value
        case float() if isfinite(value):
            return value
    raise wrong_field("must be text, a number of at most 64 bits, true, false or null")


Scalar = Annotated[
    Any,
    AfterValidator(_scalar),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "boolean"},
                {"maximum": MAX_INTEGER - 1, "minimum": -MAX_INTEGER, "type": "integer"},
                {"type": "number"},
                {"type": "null"},
            ]
        }
    ),
]


class ContactFields(BaseModel):
    """One contact. `priority`: 1 is called first. `expires_at`, `not_before`: ISO 8601; the zone of the batch is used
    where there is no offset.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"phone_number": "+4930901820", "name": "Ada", "variables": {"plan": "gold"}}},
    )

    phone_number: str
    name: str | None = None
    timezone: str | None = None
    priority: Annotated[int, Field(ge=1, le=10)] | None = None
    external_id: str | None = None
    expires_at: str | None = None
    not_before: str | None = None
    variables: dict[str, Scalar] = {}


class NewContacts(InputModel):
    """1 to 10,000 contacts to be added."""

    contacts: list[ContactFields] = Field(min_length=1, max_length=MAX_CONTACTS)


def read_contacts(
    new: NewContacts, *, default_region: str | None, batch_timezone: str, rules: CallingRules
) -> Iterator[NewContact | RejectedRow]:
    """Yield a contact or a rejection for each entry.

    Args:
        new: the body.
        default_region: country of numbers without a country code, as in `DE`; None: such numbers are rejected.
        batch_timezone: zone of times without an offset.
        rules: what the workspace may call.

    Yields:
        NewContact, or RejectedRow with the position in the list, from 1.
    """
    for position, contact in enumerate(new.contacts, 1):
        priority = None if contact.priority is None else str(contact.priority)
        fields = contact.model_dump(exclude={"variables"}) | {"priority": priority}
        try:
            yield parse_contact(
                fields, contact.variables, default_region=default_region, batch_timezone=batch_timezone, rules=rules
            )
        except InvalidInput as error:
            yield RejectedRow(position, contact.phone_number.strip()[:40] or None, str(error))
