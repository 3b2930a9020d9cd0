"""`…/explain`: why a contact or a batch is not being called now, and when it will be.

Class names here are component names of the OpenAPI document, which is a public contract.
"""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from dialer.api.auth import Caller, Viewer
from dialer.api.envelope import Answer, answer
from dialer.api.errors import documented
from dialer.domain.explanation import Certainty, Verdict
from dialer.domain.gates.codes import Advice, GateClass, GateCode
from dialer.domain.ids import BatchId, ContactId
from dialer.service import explain

router = APIRouter(prefix="/batch-calls/{batch_id}")


class Gate(BaseModel):
    """A condition for a call. `not_before`: the earliest moment at which it could pass; null: not known.

    `facts`: by which it was decided, such as `used` and `limit`.
    """

    model_config = ConfigDict(validate_by_name=True)

    code: GateCode
    gate_class: GateClass = Field(alias="class")
    passes: bool
    not_before: datetime | None
    facts: dict[str, Any]
    advice: Advice
    message: str


class _Explanation(BaseModel):
    verdict: Verdict
    reason: Gate | None
    next_at: datetime | None
    next_at_certainty: Certainty
    evaluated_at: datetime
    settings_version: int


class ContactExplanation(_Explanation):
    """Why a contact is not being called now. `reason`: the gate that counts. `gates`: all, in the order of checking.

    `next_at`: when it would be called; null and `exact`: not at all, as things are.
    """

    gates: list[Gate]


class ReasonCount(BaseModel):
    """Why so many contacts are not called now. `next_at`: when the first of them would be."""

    code: GateCode
    count: int
    next_at: datetime | None
    message: str


class Notice(BaseModel):
    """What is wrong with the engine, or going on in it."""

    code: GateCode
    message: str


class BatchExplanation(_Explanation):
    """Why the contacts of a batch are not being called now. `callable` and the counts of `reasons` add up to `total`.

    `reason`: that of most contacts that may still be called; null: some can be called now.
    """

    summary: str
    total: int
    callable: int
    reasons: list[ReasonCount]
    engine: list[Notice]


class NeverCount(BaseModel):
    """How many contacts are never called, unless somebody edits something."""

    code: GateCode
    count: int


class Problem(BaseModel):
    """Why the batch cannot be started. `code`: that of the error with which the start would be refused."""

    code: str
    message: str


class Preview(BaseModel):
    """What would become of the contacts of a batch if it were started. `too_late`: at least so many cannot be called
    before they or the batch expire.

    `callable`, the counts of `never` and `too_late` add up to `total`.
    """

    total: int
    callable: int
    never: list[NeverCount]
    too_late: int
    first_call_at: datetime | None
    ready: bool
    problems: list[Problem]


@router.get("/explain", tags=["Batch calls"], responses=documented(404))
def explain_batch_call(caller: Viewer, batch_id: BatchId) -> Answer[BatchExplanation]:
    """Explain why the contacts of a batch are not being called now, with counts."""
    return answer(BatchExplanation, explain.explain_batch(caller.context, caller.workspace_id, batch_id, caller.now))


@router.get("/contacts/{contact_id}/explain", tags=["Contacts"], responses=documented(404))
def explain_contact(caller: Viewer, batch_id: BatchId, contact_id: ContactId) -> Answer[ContactExplanation]:
    """Explain why a contact is not being called now: every gate with its verdict, and when it would be called."""
    explained = explain.explain_contact(caller.context, caller.workspace_id, batch_id, contact_id, caller.now)
    return answer(ContactExplanation, explained)


@router.get("/preview", tags=["Batch calls"], responses=documented(404))
def preview_batch_call(caller: Viewer, batch_id: BatchId) -> Answer[Preview]:
    """Say what would become of the contacts of a batch if it were started, and whether it can be."""
    return previewed(caller, batch_id)


def previewed(caller: Caller, batch_id: BatchId) -> Answer[Preview]:
    """Answer with the preview of a batch."""
    return answer(Preview, explain.preview_batch(caller.context, caller.workspace_id, batch_id, caller.now))
