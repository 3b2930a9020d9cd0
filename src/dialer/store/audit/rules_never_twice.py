"""P1: one attempt rings at most once, and a contact and a person are in at most one call."""

from dialer.store.audit.rule import Rule

OVERLAP = Rule(
    "P1",
    "overlapping_attempts",
    # Two live attempts are covered by the next rule.
    """
    SELECT id, format('Attempt %s of contact %s was created at %s, while an earlier one had not ended',
                      id, contact_id, created_at) AS fact
    FROM ledger WHERE busy_until > created_at AND NOT (is_live AND busy_until = 'infinity')
    """,
)

SEVERAL_LIVE = Rule(
    "P1",
    "several_live_attempts",
    "SELECT id, format('Contact %s has %s live attempts', id, live) AS fact FROM people WHERE live > 1",
)

SHARED_CALL = Rule(
    "P1",
    "shared_provider_call",
    """
    SELECT id, format('Attempt %s shares the call %s with another attempt', id, provider_call_id) AS fact
    FROM ledger WHERE (trunk_id, provider_call_id) IN (
        SELECT trunk_id, provider_call_id FROM neighbours WHERE provider_call_id IS NOT NULL
        GROUP BY trunk_id, provider_call_id HAVING count(*) > 1)
    """,
)

TOO_MANY = Rule(
    "P1",
    "too_many_attempts",
    """
    SELECT id, format('Contact %s has had %s attempts; it may have %s', id, counted, max_attempts) AS fact
    FROM people WHERE counted > max_attempts
    """,
)

REFUSED_BUT_REPORTED = Rule(
    "P1",
    "refused_but_reported",
    """
    SELECT DISTINCT ON (l.id) l.id,
           format('Attempt %s counts as never placed, but the network reports its call: %s', l.id, r.kind) AS fact
    FROM these_reports r JOIN ledger l ON l.id = r.attempt_id
    WHERE r.verdict = 'contradiction' ORDER BY l.id, r.id
    """,
)

CALLED_AGAIN = Rule(
    "P1",
    "called_again",
    # A contact that was reached, cannot be reached or may have been reached (unknown) is not called again, unless its
    # person has asked for it in that call.
    """
    SELECT id, CASE WHEN latest_created_at > settled_since
                    THEN format('Contact %s was called again after an attempt that settled it', id)
                    ELSE format('Contact %s is %s, though an attempt has settled it', id, status) END AS fact
    FROM people WHERE latest_created_at > settled_since
                   OR (settled_since IS NOT NULL AND status IN ('pending', 'waiting'))
    """,
)

PERSON_IN_TWO_CALLS = Rule(
    "P1",
    "person_in_two_calls",
    # Two attempts of one contact are covered by the rules above. Attempts without a workspace are those of releases
    # before 0018, which did not look whether the person was in a call.
    """
    SELECT DISTINCT ON (l.id) l.id,
           format('Attempt %s was placed at %s, while attempt %s to the same number was in progress', l.id,
                  l.placed_at, a.id) AS fact
    FROM ledger l JOIN attempts a ON (a.workspace_id, a.to_number) = (l.workspace_id, l.to_number)
    WHERE a.contact_id <> l.contact_id AND a.state <> 'refused'
      AND (coalesce(a.placed_at, a.sent_at), a.id) < (l.placed_at, l.id)
      AND coalesce(a.ended_at, 'infinity') > l.placed_at
      -- One that ended at the moment of its start may have been over when the other began.
      AND coalesce(l.ended_at, 'infinity') > coalesce(a.placed_at, a.sent_at)
    ORDER BY l.id, a.id
    """,
)

RULES = (OVERLAP, SEVERAL_LIVE, SHARED_CALL, TOO_MANY, REFUSED_BUT_REPORTED, CALLED_AGAIN, PERSON_IN_TWO_CALLS)
