"""P5: contacts, attempts, call events and counts agree, and everything that is not final will be processed again."""

from dialer.store.audit.rule import Rule
from dialer.store.bulk_changes import IS_UNFINISHED

DIALING_ALONE = Rule(
    "P5",
    "dialing_without_attempt",
    """
    SELECT id, format('Contact %s is dialing, but has no live attempt', id) AS fact
    FROM people WHERE status = 'dialing' AND live = 0
    """,
)

LIVE_ALONE = Rule(
    "P5",
    "live_attempt_of_idle_contact",
    """
    SELECT l.id, format('Attempt %s is %s, but its contact %s is %s', l.id, l.state, p.id, p.status) AS fact
    FROM ledger l JOIN people p ON p.id = l.contact_id WHERE l.is_live AND p.status <> 'dialing'
    """,
)

MISCOUNTED_CONTACT = Rule(
    "P5",
    "attempts_miscounted",
    """
    SELECT id, format('Contact %s counts %s attempts; the ledger has %s', id, attempts, counted) AS fact
    FROM people WHERE attempts <> counted
    """,
)

FINISHED_UNCALLED = Rule(
    "P5",
    "finished_without_attempt",
    """
    SELECT id, format('Contact %s is %s, but no attempt to call it has ended', id, status) AS fact
    FROM people WHERE status IN ('completed', 'failed') AND over = 0
    """,
)

WRONG_OUTCOME = Rule(
    "P5",
    "outcome_contradicts_ledger",
    # A contact also fails when its last attempt was refused because of the contact; no attempt has that outcome.
    """
    SELECT id, format('Contact %s is %s with outcome %s; its last attempt ended as %s', id, status, outcome,
                      coalesce(latest_outcome, latest_state)) AS fact
    FROM people
    WHERE (status = 'completed' AND latest_state IN ('ended', 'refused')
           AND (latest_outcome IS DISTINCT FROM outcome OR outcome NOT IN ('answered', 'machine')))
       OR (status = 'failed' AND latest_state = 'ended' AND (latest_outcome <> outcome OR outcome = 'answered'))
    """,
)

LEFT_OPEN = Rule(
    "P5",
    "open_contact_of_final_batch",
    # Of a batch with a bulk change a worker ends them.
    f"""
    SELECT p.id, format('Contact %s is %s in batch %s, which is %s', p.id, p.status, b.id, b.status) AS fact
    FROM people p JOIN these_batches b ON b.id = p.batch_id
    WHERE p.status IN ('pending', 'waiting') AND b.status IN ('completed', 'cancelled', 'failed')
      AND NOT {IS_UNFINISHED}
    """,
)

MISCOUNTED_BATCH = Rule(
    "P5",
    "counts_drifted",
    """
    SELECT b.id, format('Batch %s counts its contacts as %s; there are %s (pending, waiting, dialing, completed, '
                        'failed, skipped, cancelled)', b.id, noted.counts, found.counts) AS fact
    FROM these_batches b
    LEFT JOIN (SELECT batch_id, ARRAY[pending, waiting, dialing, completed, failed, skipped, cancelled] AS counts
               FROM batch_progress) AS noted ON noted.batch_id = b.id
    LEFT JOIN (SELECT batch_id, CAST(ARRAY[
                   count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'waiting'),
                   count(*) FILTER (WHERE status = 'dialing'), count(*) FILTER (WHERE status = 'completed'),
                   count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'skipped'),
                   count(*) FILTER (WHERE status = 'cancelled')] AS integer[]) AS counts
               FROM people GROUP BY batch_id) AS found ON found.batch_id = b.id
    WHERE noted.counts IS DISTINCT FROM coalesce(found.counts, array_fill(0, ARRAY[7]))
    """,
)

MISCOUNTED_DAY = Rule(
    "P5",
    "days_drifted",
    """
    SELECT batch_id AS id, format('Batch %s counts %s attempts on %s; the ledger has %s', batch_id,
                                  coalesce(noted.attempts, 0), local_on, coalesce(found.attempts, 0)) AS fact
    FROM (SELECT d.batch_id, d.local_on, d.attempts
          FROM batch_days d JOIN these_batches b ON b.id = d.batch_id) AS noted
    FULL JOIN (SELECT batch_id, local_on, count(*) AS attempts FROM ledger WHERE state <> 'refused'
               GROUP BY batch_id, local_on) AS found USING (batch_id, local_on)
    WHERE coalesce(noted.attempts, 0) <> coalesce(found.attempts, 0)
    """,
)

UNSETTLED = Rule(
    "P5",
    "report_unsettled",
    """
    SELECT id, format('Report %s about attempt %s has not been settled since %s', id, attempt_id, received_at) AS fact
    FROM these_reports WHERE settled_at IS NULL AND received_at < :now - interval '5 minutes'
    """,
)

FORGOTTEN = Rule(
    "P5",
    "report_forgotten",
    """
    SELECT r.id, format('Report %s (%s) is settled as %s, but attempt %s is %s', r.id,
                        coalesce(r.outcome, r.kind), r.verdict, l.id, coalesce(l.outcome, l.state)) AS fact
    FROM these_reports r JOIN ledger l ON (l.id, l.trunk_id) = (r.attempt_id, r.trunk_id)
    WHERE r.verdict = 'unknown_attempt'
       OR (r.kind = 'ended' AND r.settled_at IS NOT NULL AND l.is_live
           AND NOT (r.verdict = 'quarantined' AND EXISTS (
               SELECT 1 FROM quarantine q WHERE q.kind = 'report' AND q.subject = CAST(r.id AS text))))
       OR (r.kind = 'ended' AND r.verdict = 'applied' AND r.outcome IS DISTINCT FROM l.outcome
           -- What its agent or machine detection reported during the call.
           AND (r.outcome = 'answered' AND l.outcome = l.reported_outcome) IS NOT TRUE)
    """,
)

UNATTENDED = Rule(
    "P5",
    "attempt_unattended",
    """
    SELECT id, format('Attempt %s is %s; rescue should have looked at it at %s', id, state, rescue_at) AS fact
    FROM ledger WHERE is_live AND coalesce(rescue_at, '-infinity') < :now - interval '10 minutes'
    """,
)

RETRY_OVERDUE = Rule(
    "P5",
    "retry_overdue",
    # What waits in a batch that is over, or has expired, has no retry.
    f"""
    SELECT p.id, format('Contact %s still waits for its retry, which was due at %s', p.id, p.due_at) AS fact
    FROM people p JOIN these_batches b ON b.id = p.batch_id
    WHERE p.status = 'waiting' AND coalesce(p.due_at, '-infinity') < :now - interval '10 minutes'
      AND NOT {IS_UNFINISHED}
    """,
)

NOBODY_WAKES = Rule(
    "P5",
    "batch_asleep",
    # A batch without a due time waits for the end of a call, of a bulk change, or for a retry. If none of these can
    # happen, it is stuck.
    f"""
    SELECT b.id, format('Batch %s is active and due at no time, with %s contacts pending, %s waiting, %s dialing', b.id,
                        p.pending, p.waiting, p.dialing) AS fact
    FROM these_batches b JOIN batch_progress p ON p.batch_id = b.id
    WHERE b.status = 'active' AND p.next_dispatch_at IS NULL AND NOT {IS_UNFINISHED}
      AND CASE WHEN p.pending > 0 THEN p.held_by IS NULL OR p.dialing = 0 ELSE p.waiting = 0 AND p.dialing = 0 END
    """,
)

BULK_CHANGE_OVERDUE = Rule(
    "P5",
    "bulk_change_overdue",
    """
    SELECT b.id, format('Contacts of batch %s should have been ended since %s', b.id, c.due_at) AS fact
    FROM these_batches b JOIN bulk_changes c ON c.batch_id = b.id WHERE c.due_at < :now - interval '10 minutes'
    """,
)

LEFT_BEHIND = Rule(
    "P5",
    "row_of_missing_batch",
    """
    SELECT id, format('%s %s belongs to batch %s, which does not exist', kind, id, batch_id) AS fact
    FROM rows_without_batch WHERE batch_id NOT IN (SELECT batch_id FROM bulk_changes)
    """,
)

BROKEN_REFERENCE = Rule(
    "P5",
    "broken_reference",
    # No foreign key says so: triggers keep these rows.
    """
    SELECT a.id, format('Attempt %s refers to a contact, a number or a trunk that does not exist', a.id) AS fact
    FROM these_attempts a
    WHERE NOT EXISTS (SELECT 1 FROM contacts WHERE id = a.contact_id)
       OR NOT EXISTS (SELECT 1 FROM phone_numbers WHERE id = a.phone_number_id)
       OR NOT EXISTS (SELECT 1 FROM trunks WHERE id = a.trunk_id)
    """,
)

DISPATCH_OVERDUE = Rule(
    "P5",
    "dispatch_overdue",
    """
    SELECT b.id, format('Batch %s is active and was due at %s', b.id, p.next_dispatch_at) AS fact
    FROM these_batches b JOIN batch_progress p ON p.batch_id = b.id
    WHERE b.status = 'active' AND p.next_dispatch_at < :now - interval '10 minutes'
    """,
)

START_OVERDUE = Rule(
    "P5",
    "start_overdue",
    """
    SELECT id, format('Batch %s is scheduled, but its start was due at %s', id, coalesce(scheduled_at::text, 'no time'))
               AS fact
    FROM these_batches
    WHERE status = 'scheduled' AND coalesce(scheduled_at, '-infinity') < :now - interval '10 minutes'
    """,
)

LANE_UNSERVED = Rule(
    "P5",
    "lane_not_served",
    # Dispatch reads lanes only in batches whose contacts may be in different ones.
    """
    SELECT p.id, format('Contact %s stands in the lane %s, which batch %s does not look at', p.id, p.lane, b.id) AS fact
    FROM people p JOIN these_batches b ON b.id = p.batch_id
    WHERE p.lane <> '' AND p.status IN ('pending', 'waiting')
      AND NOT b.respect_contact_timezone AND NOT b.sticky_caller_id
    """,
)

RULES = (
    DIALING_ALONE,
    LIVE_ALONE,
    MISCOUNTED_CONTACT,
    FINISHED_UNCALLED,
    WRONG_OUTCOME,
    LEFT_OPEN,
    MISCOUNTED_BATCH,
    MISCOUNTED_DAY,
    UNSETTLED,
    FORGOTTEN,
    UNATTENDED,
    RETRY_OVERDUE,
    NOBODY_WAKES,
    BULK_CHANGE_OVERDUE,
    LEFT_BEHIND,
    BROKEN_REFERENCE,
    DISPATCH_OVERDUE,
    START_OVERDUE,
    LANE_UNSERVED,
)
