"""Outbound numbers: the caller IDs of calls. Each belongs to a trunk and may have limits of its own."""

from uuid import UUID

from pydantic import ConfigDict, Field

from dialer.service.fields import Changes, InputModel, Limit, PhoneNumber, Status
from dialer.service.resources import ResourceType
from dialer.store.resources import AGENTS, PHONE_NUMBERS, TRUNKS


class NewPhoneNumber(InputModel):
    """An outbound number to be created."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "phone_number": "+12025550191",
                "trunk_id": "019cad8f-ac00-7d8e-91b7-584a2265b1f5",
                "max_calls_per_day": 500,
            }
        }
    )

    phone_number: PhoneNumber
    trunk_id: UUID
    agent_id: UUID | None = None
    status: Status = "active"
    max_concurrent_calls: Limit | None = None
    max_calls_per_day: Limit | None = None


class ChangedPhoneNumber(Changes):
    """The fields of an outbound number to be changed."""

    trunk_id: UUID = Field(default=UUID(int=0))
    agent_id: UUID | None = None
    status: Status = "active"
    max_concurrent_calls: Limit | None = None
    max_calls_per_day: Limit | None = None


PHONE_NUMBER_TYPE = ResourceType(
    PHONE_NUMBERS, NewPhoneNumber, ChangedPhoneNumber, {"trunk_id": TRUNKS, "agent_id": AGENTS}
)
