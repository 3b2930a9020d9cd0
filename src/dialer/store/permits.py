"""The permit of an attempt, just before its request leaves: given once, so that no request is sent twice (P1, P4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from dialer.domain.calling_rules import CallingRules
from dialer.domain.ids import AttemptId
from dialer.domain.timeouts import PLACE_SECONDS
from dialer.store.database import passing_over, rows, wait_shortly
from dialer.store.person_limits import free_at
from dialer.store.workspaces import rules_of


@dataclass(frozen=True, slots=True)
class Permit:
    """`may_leave`: attempts that may leave within LEAVE_SECONDS. `refused`: those that must not leave, and why.
    `later`: those whose row, or whose batch, another session has locked. `rules`: what their workspaces may call.

    Attempts in none of them are not `reserved` any more, or were sent before: rescue or a report ends them.
    """

    may_leave: frozenset[AttemptId]
    refused: Mapping[AttemptId, str]
    later: frozenset[AttemptId]
    rules: Mapping[AttemptId, CallingRules] = field(default_factory=dict)


def permit(connection: Connection, attempt_ids: Sequence[AttemptId], *, skip_locked: bool = False) -> Permit:
    """Permit those of these attempts to leave that are reserved, young enough, of an active batch, and not suppressed,
    and whose contact is still the one that is being called: an operator may have taken it out in SQL, or changed it.

    The limits of the person are checked again: a call that began and ended while the contact was being claimed was not
    counted then. Now no other call can begin.

    FOR SHARE: a pause of the batch waits until this is committed, and then sees what is leaving; and this waits for a
    pause that is not committed yet, and then sees it (P4). `skip_locked`: what is locked is left for later instead.
    """
    wait_shortly(connection)
    records = rows(
        connection,
        f"""
        WITH asked AS MATERIALIZED (SELECT id, batch_id FROM attempts WHERE id = ANY(:ids)),
        active AS MATERIALIZED (
            SELECT id, workspace_id FROM batches
            WHERE id = ANY(ARRAY(SELECT DISTINCT batch_id FROM asked)) AND status = 'active'
            ORDER BY id FOR SHARE {passing_over(skip_locked)}),
        locked AS MATERIALIZED (
            SELECT a.id, a.state = 'reserved' AND a.sent_at IS NULL AS is_waiting,
                   a.created_at <= dialer_now() - interval '{PLACE_SECONDS} seconds' AS is_late,
                   EXISTS (SELECT 1 FROM suppressions s
                           WHERE s.workspace_id = active.workspace_id AND s.phone_number = a.to_number)
                   AS is_suppressed,
                   NOT EXISTS (SELECT 1 FROM contacts c
                               WHERE c.id = a.contact_id AND c.status = 'dialing' AND c.phone_number = a.to_number)
                   AS is_withdrawn,
                   {free_at("a.allowed_by -> 'person_limits'", "a.workspace_id", "a.to_number", "a.created_at")}
                   IS NOT NULL AS is_over_limit
            FROM asked JOIN active ON active.id = asked.batch_id JOIN attempts a ON a.id = asked.id
            ORDER BY a.id FOR NO KEY UPDATE OF a {passing_over(skip_locked)}),
        leaving AS (
            UPDATE attempts a SET sent_at = dialer_now() FROM locked l
            WHERE a.id = l.id AND l.is_waiting
              AND NOT (l.is_late OR l.is_suppressed OR l.is_withdrawn OR l.is_over_limit)
            RETURNING a.id)
        SELECT a.id, a.id IN (SELECT id FROM leaving) AS may_leave,
               a.state = 'reserved' AND a.sent_at IS NULL AS is_waiting,
               CASE WHEN b.status <> 'active' THEN 'batch_' || b.status
                    WHEN a.created_at <= dialer_now() - interval '{PLACE_SECONDS} seconds' THEN 'too_late'
                    WHEN a.id IN (SELECT id FROM locked WHERE is_suppressed) THEN 'suppressed'
                    WHEN a.id IN (SELECT id FROM locked WHERE is_withdrawn) THEN 'contact_changed'
                    WHEN a.id IN (SELECT id FROM locked WHERE is_over_limit) THEN 'person_limit' END AS reason,
               w.countries, w.premium_rate
        FROM attempts a JOIN batches b ON b.id = a.batch_id JOIN workspaces w ON w.id = b.workspace_id
        WHERE a.id = ANY(:ids)
        """,
        ids=list(attempt_ids),
    )
    waiting = [row for row in records if row.is_waiting and not row.may_leave]
    return Permit(
        may_leave=frozenset(row.id for row in records if row.may_leave),
        refused={row.id: row.reason for row in waiting if row.reason},
        later=frozenset(row.id for row in waiting if not row.reason),
        rules={row.id: rules_of(row) for row in records},
    )
