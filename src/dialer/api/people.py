"""`/people`: export and erase what is held on one telephone number. Only for admins."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel

from dialer.api.auth import Admin
from dialer.api.body import Body, body_of
from dialer.api.envelope import Answer, answer
from dialer.api.errors import documented
from dialer.api.schemas import Call, Contact
from dialer.service import people
from dialer.service.people import Person

router = APIRouter(prefix="/people", tags=["People"])


class HeldSuppression(BaseModel):
    """Why and since when the number is not called."""

    reason: str | None
    created_at: datetime


class HeldData(BaseModel):
    """Everything that the workspace holds on a number. `calls`: also those that are archived."""

    phone_number: str
    contacts: list[Contact]
    calls: list[Call]
    folder_contacts: list[dict[str, Any]]
    webhook_messages: list[dict[str, Any]]
    suppression: HeldSuppression | None


class Erasure(BaseModel):
    """How many rows the erasure has changed or removed."""

    contacts: int
    calls: int
    folder_contacts: int
    webhook_messages: int
    quarantined_reports: int
    stored_responses: int


@router.post("/export", responses=documented(400, 413))
def export_person(caller: Admin, body: Annotated[Body[Person], body_of(Person)]) -> Answer[HeldData]:
    """Read everything that the workspace holds on a number. The response is never stored: an idempotency key has no
    effect here.
    """
    return answer(HeldData, people.export(caller.db, caller.workspace_id, body.read()))


@router.post("/erase", responses=documented(400, 413))
def erase_person(caller: Admin, body: Annotated[Body[Person], body_of(Person)]) -> Answer[Erasure]:
    """Erase a number and what was loaded with it, everywhere but in the suppressions. May be sent again.

    Refused while the number is being called (`person_in_call`). Contacts that were to be called are cancelled as
    `erased`. Counts and outcomes stay, without the person.
    """
    return answer(Erasure, people.erase(caller.db, caller.workspace_id, body.read(), caller.now))
