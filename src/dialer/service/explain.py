"""Why a contact or a batch is not being called now, as the API shows it."""

from typing import Any, Literal

from pendulum import DateTime

from dialer.domain.explanation import Reason
from dialer.domain.gates.codes import KINDS, Blocked, GateCode
from dialer.domain.gates.messages import message_of, phrase, summary, zone_of
from dialer.domain.ids import BatchId, ContactId, WorkspaceId
from dialer.engine import explain
from dialer.engine.context import EngineContext
from dialer.service import readiness
from dialer.store.contact_groups import InGroups
from dialer.store.explain import MOST_READ

NOT_OF_A_CONTACT = {GateCode.NO_WORKER, GateCode.IMPORT_RUNNING}
PASSES = "Passes"
# In a batch of more contacts they are not listed by reason.
MOST_BY_REASON = MOST_READ
NO_REASON: Literal["none"] = "none"
# A reason by which contacts are listed; none: they can be called now.
ListedReason = GateCode | Literal["none"]


def explain_contact(
    context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, contact_id: ContactId, now: DateTime
) -> dict[str, Any]:
    """Explain one contact: all gates in order, the one that counts, and the next moment at which it would be called.

    Args:
        context: what the engine works with.
        workspace_id: the workspace of the caller.
        batch_id: the batch of the contact.
        contact_id: the contact.
        now: the current time.

    Returns:
        The verdict, the gates, and when the contact would be called.

    Raises:
        NotFound: there is no such contact in this batch, or no such batch in this workspace.
    """
    explained = explain.explain_contact(context, workspace_id, batch_id, contact_id, now)
    explanation = explained.explanation
    gates = [
        _gate(code, explanation.blocked.get(code), explained.timezone, now)
        for code in GateCode
        if code not in NOT_OF_A_CONTACT
    ]
    return {
        "verdict": explanation.verdict,
        "reason": explanation.reason and _gate(explanation.reason.code, explanation.reason, explained.timezone, now),
        "gates": gates,
        "next_at": explanation.next_at,
        "next_at_certainty": explanation.certainty,
        "evaluated_at": now,
        "settings_version": explained.version,
    }


def explain_batch(
    context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime
) -> dict[str, Any]:
    """Explain a batch: how many of its contacts can be called now, and why the others are not.

    Args:
        context: what the engine works with.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        now: the current time.

    Returns:
        A summary, the counts by reason (with `callable` they add up to `total`), and what is wrong with the engine.

    Raises:
        NotFound: there is no such batch in this workspace.
    """
    explained = explain.explain_contacts(context, workspace_id, batch_id, now)
    explanation, timezone = explained.explanation, explained.timezone
    phrases = [_phrase(reason, timezone, now) for reason in explanation.reasons]
    return {
        "verdict": explanation.verdict,
        "reason": explanation.reason and _gate(explanation.reason.code, explanation.reason, timezone, now),
        "next_at": explanation.next_at,
        "next_at_certainty": explanation.certainty,
        "evaluated_at": now,
        "settings_version": explained.version,
        "summary": summary(explanation.callable, explanation.total, phrases),
        "total": explanation.total,
        "callable": explanation.callable,
        "reasons": [_reason(reason, timezone, now) for reason in explanation.reasons],
        "engine": [{"code": gate.code, "message": message_of(gate, timezone, now)} for gate in explained.notices],
    }


def contacts_because(
    context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, reason: ListedReason | None, now: DateTime
) -> InGroups | None:
    """Say which contacts of a batch are not called for a reason, or can be called now, as a filter of its contacts.

    Args:
        context: what the engine works with.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        reason: a code of the `reasons` of `explain_batch`; `NO_REASON`: the `callable` ones; None: all contacts.
        now: the current time.

    Returns:
        The filter; None: all contacts.

    Raises:
        NotFound: there is no such batch in this workspace.
        InvalidInput: the batch has more than 50,000 contacts.
    """
    if reason is None:
        return None
    code = None if reason == NO_REASON else GateCode(reason)
    return explain.contacts_because(context, workspace_id, batch_id, code, now)


def preview_batch(
    context: EngineContext, workspace_id: WorkspaceId, batch_id: BatchId, now: DateTime
) -> dict[str, Any]:
    """Say what would become of the contacts of a batch if it were started, and whether it can be. Changes nothing.

    Args:
        context: what the engine works with.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        now: the current time.

    Returns:
        The counts, the moment of the first call, and every problem for which the start would be refused.

    Raises:
        NotFound: there is no such batch in this workspace.
    """
    preview, facts = explain.preview_contacts(context, workspace_id, batch_id, now)
    problems = list(readiness.problems(context, facts.batch, facts.change.scheduled_at, facts.numbers, now))
    return {
        "total": preview.total,
        "callable": preview.callable,
        "never": [{"code": code, "count": count} for code, count in preview.never.most_common()],
        "too_late": preview.too_late,
        "first_call_at": preview.first_call_at,
        "ready": not problems,
        "problems": [{"code": problem.code, "message": str(problem)} for problem in problems],
    }


def _gate(code: GateCode, blocked: Blocked | None, timezone: str, now: DateTime) -> dict[str, Any]:
    kind = KINDS[code]
    return {
        "code": code,
        "class": kind.gate_class,
        "passes": blocked is None,
        "not_before": blocked and blocked.not_before,
        "facts": dict(blocked.facts) if blocked else {},
        "advice": kind.advice,
        "message": message_of(blocked, timezone, now) if blocked else PASSES,
    }


def _reason(reason: Reason, timezone: str, now: DateTime) -> dict[str, Any]:
    return {
        "code": reason.blocked.code,
        "count": reason.count,
        "next_at": reason.next_at,
        "message": message_of(reason.blocked, timezone, now),
    }


def _phrase(reason: Reason, timezone: str, now: DateTime) -> str:
    zone = zone_of(reason.blocked.facts, timezone)
    return phrase(reason.blocked.code, reason.count, reason.next_at, zone, now)
