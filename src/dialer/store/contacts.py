"""Contacts in SQL: claimed for an attempt, moved on by its result, requeued at their due time."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.attempt import Offer, ReservedAttempt
from dialer.domain.ids import AttemptId, BatchId, ContactId
from dialer.domain.lane import Lane
from dialer.domain.states import AttemptState, ContactStatus
from dialer.domain.timeouts import RESCUE_AFTER
from dialer.store import bulk_changes, quarantine
from dialer.store.attempts import LIVE
from dialer.store.database import checked_last, optional_moment, passing_over, rows, run
from dialer.store.numbers import VERSION
from dialer.store.person_limits import free_at, live_call

_CHOSEN = """
id, batch_id, lane, phone_number, priority, due_at, position, expires_at, attempts, attempts_allowed, outcome, name,
external_id, variables
"""
# Of an offer `o` and the `clock`. Not estimated: Postgres would expect one valid offer, and compare all offers with all
# contacts that are chosen for them.
OFFER_IS_VALID = f"""
    o.valid_from <= clock.now AND clock.now < o.valid_until
    AND o.number_id IN (SELECT id FROM free_numbers) AND o.trunk_id IN (SELECT id FROM free_trunks)
    AND EXISTS (SELECT 1 FROM phone_numbers n WHERE n.id = o.number_id AND {VERSION} = o.number_version)
"""
# Of a contact `c`, once it waits because its person is in a call: whether that call is over.
_PERSON_IS_FREE = f"""
(c.waits_for IS DISTINCT FROM 'person_in_call'
 OR {live_call("(SELECT workspace_id FROM batches WHERE id = c.batch_id)", "c.phone_number")} IS NULL)
"""
# Of a contact `c`. A waiting retry counts for nothing where an operator has taken the retries back; a callback that its
# person asked for is no retry.
IS_SPENT = """
    c.attempts > 0 AND c.attempts >= c.attempts_allowed AND EXISTS (
        SELECT 1 FROM batches b WHERE b.id = c.batch_id
        AND (NOT b.retry_failed OR c.attempts > b.max_retry_attempts
             OR c.outcome = 'machine' AND NOT b.retry_machine))
"""
IS_SUPPRESSED = """
    EXISTS (SELECT 1 FROM suppressions s JOIN batches b ON b.workspace_id = s.workspace_id
            WHERE b.id = c.batch_id AND s.phone_number = c.phone_number)
"""


def lanes(connection: Connection, batch_ids: Sequence[BatchId], limit: int) -> dict[BatchId, list[Lane]]:
    """List the lane of each next contact of each batch, in calling order, at most `limit` contacts of a lane."""
    records = rows(
        connection,
        """
        WITH RECURSIVE asked AS (
            SELECT batch_id FROM unnest(CAST(:ids AS uuid[])) AS a (batch_id)),
        lane AS (  -- a loose index scan: one probe a lane, however many contacts it has
            SELECT a.batch_id, (SELECT min(c.lane) FROM contacts c
                                WHERE c.batch_id = a.batch_id AND c.status = 'pending') AS lane FROM asked a
            UNION ALL
            SELECT l.batch_id, (SELECT min(c.lane) FROM contacts c
                                WHERE c.batch_id = l.batch_id AND c.status = 'pending' AND c.lane > l.lane)
            FROM lane l WHERE l.lane IS NOT NULL)
        SELECT l.batch_id, l.lane FROM lane l
        CROSS JOIN LATERAL (
            SELECT c.priority, c.due_at, c.position FROM contacts c
            WHERE c.batch_id = l.batch_id AND c.lane = l.lane AND c.status = 'pending'
            ORDER BY c.priority, c.due_at, c.position LIMIT :limit) AS c
        WHERE l.lane IS NOT NULL
        ORDER BY l.batch_id, c.priority, c.due_at, c.position
        """,
        ids=list(batch_ids),
        limit=limit,
    )
    parsed = {text: Lane.parse(text) for text in {row.lane for row in records}}
    ordered: dict[BatchId, list[Lane]] = {batch_id: [] for batch_id in batch_ids}
    for row in records:
        ordered[row.batch_id].append(parsed[row.lane])
    return ordered


@dataclass(frozen=True, slots=True)
class ClaimedContacts:
    """The attempts that a claim has written. `passed_over`: contacts that were skipped, or wait, in their turn."""

    reserved: tuple[ReservedAttempt, ...]
    passed_over: int


def claim(connection: Connection, offers: Sequence[Offer]) -> ClaimedContacts:
    """Give each offer the next contact of its lane and write the attempt, for all batches in one statement.

    The batches are locked by this transaction. A contact that is suppressed or expired is skipped for good, one whose
    person is in a call or has had enough calls waits, and their offers find no contact. SKIP LOCKED: a contact that
    another session is changing is not waited for. It is in a lateral subquery with the LIMIT, so that exactly the rows
    that are taken are locked.

    Of two claims of one person at the same time the second waits for the first, and its offer finds no contact (P1).
    Attempts are inserted in the order of the people, so that two claims do not wait for each other.
    """
    # A generic plan would be made for ten offers, and compare each of thousands with each contact.
    rows(connection, "SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
    records = rows(
        connection,
        f"""
        WITH clock AS MATERIALIZED (SELECT dialer_now() AS now),
        -- An attempt refers to these. Someone who is deleting one of them must not make all offers wait. One that was
        -- deactivated since the dispatch has read it is not used any more.
        free_numbers AS MATERIALIZED (
            SELECT id FROM phone_numbers WHERE id = ANY(CAST(:distinct_numbers AS uuid[])) AND status = 'active'
            FOR KEY SHARE SKIP LOCKED),
        free_trunks AS MATERIALIZED (
            SELECT id FROM trunks WHERE id = ANY(CAST(:distinct_trunks AS uuid[])) AND status = 'active'
            FOR KEY SHARE SKIP LOCKED),
        offers AS MATERIALIZED (
            SELECT o.attempt_id, o.batch_id, o.lane, o.number_id, o.trunk_id, o.from_number, o.granted_at, o.local_on,
                   o.utc_on, o.allowed_by,
                   row_number() OVER (PARTITION BY o.batch_id, o.lane ORDER BY o.position) AS nth
            FROM clock, unnest(
                CAST(:attempts AS uuid[]), CAST(:batches AS uuid[]), CAST(:lanes AS text[]), CAST(:numbers AS uuid[]),
                CAST(:trunks AS uuid[]), CAST(:froms AS text[]), CAST(:versions AS text[]),
                CAST(:granted AS timestamptz[]), CAST(:valid_from AS timestamptz[]),
                CAST(:valid_until AS timestamptz[]), CAST(:local_on AS date[]), CAST(:utc_on AS date[]),
                CAST(:allowed AS text[])) WITH ORDINALITY
                AS o (attempt_id, batch_id, lane, number_id, trunk_id, from_number, number_version, granted_at,
                      valid_from, valid_until, local_on, utc_on, allowed_by, position)
            WHERE {checked_last(OFFER_IS_VALID)}),
        wanted AS MATERIALIZED (
            SELECT o.batch_id, o.lane, b.workspace_id, b.person_limits || w.person_limits AS limits, count(*) AS n
            FROM offers o JOIN batches b ON b.id = o.batch_id JOIN workspaces w ON w.id = b.workspace_id
            GROUP BY o.batch_id, o.lane, b.id, w.id),
        chosen AS MATERIALIZED (
            SELECT c.id, c.batch_id, c.lane, c.phone_number, c.priority, c.due_at, c.position, c.name, c.external_id,
                   c.variables, c.expires_at, wanted.workspace_id, wanted.limits,
                   coalesce(c.expires_at <= clock.now, false) AS is_expired,
                   {IS_SPENT} AS is_spent, {IS_SUPPRESSED} AS is_suppressed,
                   {live_call("wanted.workspace_id", "c.phone_number")} AS is_in_call,
                   {free_at("wanted.limits", "wanted.workspace_id", "c.phone_number", "clock.now")} AS free_at
            FROM clock, wanted
            -- The outer LIMIT says how many there are at most: Postgres would expect a tenth of the lane.
            CROSS JOIN LATERAL (SELECT {_CHOSEN} FROM (
                SELECT {_CHOSEN} FROM contacts
                WHERE batch_id = wanted.batch_id AND lane = wanted.lane AND status = 'pending'
                ORDER BY priority, due_at, position LIMIT wanted.n FOR NO KEY UPDATE SKIP LOCKED) AS locked
                LIMIT :most) AS c),
        callable AS (
            SELECT id, batch_id, lane, phone_number, name, external_id, variables, expires_at, workspace_id, limits,
                   row_number() OVER (PARTITION BY batch_id, lane ORDER BY priority, due_at, position) AS nth
            FROM chosen WHERE NOT is_expired AND NOT is_suppressed AND NOT is_spent
                          AND is_in_call IS NULL AND free_at IS NULL),
        paired AS MATERIALIZED (
            SELECT o.attempt_id, batch_id, o.number_id, o.trunk_id, o.from_number, o.granted_at, o.local_on, o.utc_on,
                   o.allowed_by, c.id AS contact_id, c.phone_number, c.name, c.external_id, c.variables, c.expires_at,
                   c.workspace_id, c.limits
            FROM callable c JOIN offers o USING (batch_id, lane, nth)),
        written AS (
            INSERT INTO attempts (id, batch_id, contact_id, workspace_id, trunk_id, phone_number_id, to_number,
                                  from_number, state, local_on, utc_on, granted_at, created_at, rescue_at, allowed_by)
            SELECT attempt_id, batch_id, contact_id, workspace_id, trunk_id, number_id, phone_number, from_number,
                   'reserved', local_on, utc_on, granted_at, clock.now, clock.now + CAST(:rescue_after AS interval),
                   CAST(allowed_by AS jsonb)
                   || CASE WHEN limits = '[]' THEN '{{}}' ELSE jsonb_build_object('person_limits', limits) END
            FROM paired, clock ORDER BY workspace_id, phone_number
            ON CONFLICT (workspace_id, to_number) WHERE state IN {LIVE} DO NOTHING
            RETURNING id, batch_id, contact_id, phone_number_id, local_on),
        dialing AS (
            UPDATE contacts c SET status = 'dialing', attempts = attempts + 1,
                first_number_id = coalesce(first_number_id, w.phone_number_id),
                lane = CASE WHEN b.sticky_caller_id AND first_number_id IS NULL
                            THEN c.lane || '|' || w.phone_number_id ELSE c.lane END
            FROM written w JOIN batches b ON b.id = w.batch_id WHERE c.id = w.contact_id),
        skipped AS (
            UPDATE contacts c SET status = 'skipped', finished_at = clock.now,
                status_reason = CASE WHEN ch.is_suppressed THEN 'suppressed'
                                     WHEN ch.is_expired THEN 'expired' ELSE 'retries_taken_back' END
            FROM chosen ch, clock WHERE c.id = ch.id AND (ch.is_expired OR ch.is_suppressed OR ch.is_spent)
            RETURNING c.id),
        postponed AS (
            UPDATE contacts c SET status = 'waiting', due_at = coalesce(ch.free_at, c.due_at),
                waits_for = CASE WHEN ch.free_at IS NULL THEN 'person_in_call' ELSE 'person_limit' END
            FROM chosen ch
            WHERE c.id = ch.id AND NOT (ch.is_expired OR ch.is_suppressed OR ch.is_spent)
              AND (ch.is_in_call OR ch.free_at IS NOT NULL
                   OR ch.id IN (SELECT contact_id FROM paired) AND ch.id NOT IN (SELECT contact_id FROM written))
            RETURNING c.id),
        counted AS (
            INSERT INTO batch_days AS d (batch_id, local_on, attempts)
            SELECT batch_id, local_on, count(*) FROM written GROUP BY batch_id, local_on ORDER BY batch_id
            ON CONFLICT (batch_id, local_on) DO UPDATE SET attempts = d.attempts + excluded.attempts)
        SELECT p.attempt_id, p.batch_id, p.contact_id, p.phone_number, p.name, p.external_id, p.variables,
               p.expires_at, passed_over.n
        FROM (SELECT (SELECT count(*) FROM skipped) + (SELECT count(*) FROM postponed) AS n) AS passed_over
        LEFT JOIN paired p ON {checked_last("p.attempt_id IN (SELECT id FROM written)")}
        """,
        most=len(offers),
        attempts=[offer.attempt_id for offer in offers],
        batches=[offer.batch_id for offer in offers],
        lanes=[str(offer.lane) for offer in offers],
        numbers=[offer.number_id for offer in offers],
        trunks=[offer.trunk_id for offer in offers],
        distinct_numbers=list({offer.number_id for offer in offers}),
        distinct_trunks=list({offer.trunk_id for offer in offers}),
        froms=[offer.from_number for offer in offers],
        versions=[offer.number_version for offer in offers],
        granted=[offer.granted_at for offer in offers],
        valid_from=[offer.valid_from for offer in offers],
        valid_until=[offer.valid_until for offer in offers],
        local_on=[offer.local_on for offer in offers],
        utc_on=[offer.utc_on for offer in offers],
        allowed=[offer.allowed_by for offer in offers],
        rescue_after=f"{RESCUE_AFTER[AttemptState.RESERVED]} seconds",
    )
    reserved = tuple(_reserved(row) for row in records if row.attempt_id is not None)
    return ClaimedContacts(reserved, records[0].n)


def _reserved(row: Row[Any]) -> ReservedAttempt:
    contact = row.name, row.external_id, row.variables, optional_moment(row.expires_at)
    return ReservedAttempt(row.attempt_id, row.batch_id, row.contact_id, row.phone_number, *contact)


@dataclass(frozen=True, slots=True)
class ContactResult:
    """What an attempt that is over does to its contact. `counts`: it used up one of the contact's attempts.

    `refusals`: how many it adds; the delay before the next attempt doubles with each. `is_callback`: its person is
    called back at `due_at`, before all others, whatever the retry rules are.
    """

    contact_id: ContactId
    status: ContactStatus
    reason: str | None
    outcome: str | None
    due_at: DateTime | None
    finished_at: DateTime | None
    counts: bool
    refusals: int
    is_callback: bool = False


def lock(connection: Connection, contact_ids: Collection[ContactId], *, skip_locked: bool = False) -> set[ContactId]:
    """Lock these contacts in id order; return those that are locked. Their batches' counts are locked already."""
    records = rows(
        connection,
        f"SELECT id FROM contacts WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE {passing_over(skip_locked)}",
        ids=list(contact_ids),
    )
    return {row.id for row in records}


def write_results(connection: Connection, results: Sequence[ContactResult]) -> int:
    """Move the contacts of finished attempts on; their batches' counts are locked by this transaction."""
    return run(
        connection,
        f"""
        UPDATE contacts c SET
            status = r.status, status_reason = r.reason, outcome = coalesce(r.outcome, c.outcome),
            due_at = coalesce(r.due_at, c.due_at), finished_at = r.finished_at,
            attempts = c.attempts - CASE WHEN r.counts THEN 0 ELSE 1 END,
            refusals = c.refusals + r.refusals,
            waits_for = CASE WHEN r.is_callback THEN 'callback' END,
            priority = CASE WHEN r.is_callback THEN 0 ELSE c.priority END,
            attempts_allowed = CASE WHEN r.is_callback THEN c.attempts + CASE WHEN r.counts THEN 1 ELSE 0 END
                                    ELSE c.attempts_allowed END
        FROM unnest(CAST(:ids AS uuid[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]),
                    CAST(:outcomes AS text[]), CAST(:due AS timestamptz[]), CAST(:finished AS timestamptz[]),
                    CAST(:counts AS boolean[]), CAST(:refusals AS smallint[]), CAST(:callbacks AS boolean[]))
             AS r (id, status, reason, outcome, due_at, finished_at, counts, refusals, is_callback)
        WHERE c.id = r.id AND {checked_last("c.status = 'dialing'")}
        """,
        ids=[result.contact_id for result in results],
        statuses=[result.status for result in results],
        reasons=[result.reason for result in results],
        outcomes=[result.outcome for result in results],
        due=[result.due_at for result in results],
        finished=[result.finished_at for result in results],
        counts=[result.counts for result in results],
        refusals=[result.refusals for result in results],
        callbacks=[result.is_callback for result in results],
    )


@dataclass(frozen=True, slots=True)
class LockedContact:
    """What a callback depends on, of a contact whose row is locked."""

    status: ContactStatus
    lane: Lane
    expires_at: DateTime | None
    is_erased: bool


def lock_one(
    connection: Connection, batch_id: BatchId, contact_id: ContactId, *, skip_locked: bool = False
) -> LockedContact | None:
    """Lock one contact of a batch and read it; None: there is none. The batch's counts are locked already."""
    records = rows(
        connection,
        f"""
        SELECT status, lane, expires_at, phone_number LIKE 'erased:%' AS is_erased
        FROM contacts WHERE id = :id AND batch_id = :batch
        FOR NO KEY UPDATE {passing_over(skip_locked)}
        """,
        id=contact_id,
        batch=batch_id,
    )
    if not records:
        return None
    (row,) = records
    expires_at = optional_moment(row.expires_at)
    return LockedContact(ContactStatus(row.status), Lane.parse(row.lane), expires_at, row.is_erased)


def call_back(connection: Connection, contact_id: ContactId, at: DateTime) -> None:
    """Have a pending or waiting contact called at this time, before all others; it is locked by this transaction."""
    run(
        connection,
        """
        UPDATE contacts SET status = 'waiting', waits_for = 'callback', due_at = :at, priority = 0
        WHERE id = :id AND status IN ('pending', 'waiting')
        """,
        id=contact_id,
        at=at,
    )


def call_back_once_more(connection: Connection, contact_id: ContactId, at: DateTime) -> None:
    """Have a contact called once more at this time, before all others, also one that was completed or has failed.

    It is locked by this transaction and not being called.
    """
    run(
        connection,
        """
        UPDATE contacts SET status = 'waiting', waits_for = 'callback', due_at = :at, priority = 0, finished_at = NULL,
                            attempts_allowed = attempts + 1
        WHERE id = :id AND status IN ('pending', 'waiting', 'completed', 'failed')
        """,
        id=contact_id,
        at=at,
    )


def wait_for_persons(connection: Connection, attempt_ids: Sequence[AttemptId]) -> bool:
    """Say whether contacts wait because their person is in one of these calls. Reads an index of those that do.

    Of any workspace: retry, which is asked because of this, looks closer.
    """
    (row,) = rows(
        connection,
        """
        SELECT EXISTS (
            SELECT 1 FROM attempts a WHERE a.id = ANY(:ids) AND EXISTS (
                SELECT 1 FROM contacts c
                WHERE c.phone_number = a.to_number AND c.status = 'waiting' AND c.waits_for = 'person_in_call'
                -- One probe for each call: Postgres may expect few, and compare all of them with all who wait.
                OFFSET 0)) AS is_waiting
        """,
        ids=list(attempt_ids),
    )
    return bool(row.is_waiting)


def batches_to_requeue(
    connection: Connection, now: DateTime, limit: int, passed_over: Collection[BatchId]
) -> list[BatchId]:
    """List the batches of a page of the contacts that wait no longer, most overdue first, without `passed_over`.

    Batches whose contacts a bulk change ends are left out, too.
    """
    records = rows(
        connection,
        f"""
        SELECT DISTINCT id FROM (
            SELECT b.id FROM contacts c JOIN batches b ON b.id = c.batch_id
            WHERE c.status = 'waiting' AND c.due_at <= :now AND b.id <> ALL(CAST(:but AS uuid[])) AND {_PERSON_IS_FREE}
              AND {quarantine.NOT_JUST_NOW} AND NOT {bulk_changes.IS_UNFINISHED}
            ORDER BY c.due_at LIMIT :limit
        ) AS due
        """,
        now=now,
        but=list(passed_over),
        limit=limit,
    )
    return [row.id for row in records]


def requeue_waiting(connection: Connection, batch_ids: Sequence[BatchId], now: DateTime, limit: int) -> int:
    """Make those contacts of these batches pending that are due; the batches' counts are locked by this transaction."""
    return run(
        connection,
        f"""
        UPDATE contacts SET status = 'pending', waits_for = NULL
        WHERE id IN (SELECT id FROM contacts c
                     WHERE status = 'waiting' AND due_at <= :now AND batch_id = ANY(:ids) AND {_PERSON_IS_FREE}
                     ORDER BY due_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
        """,
        ids=list(batch_ids),
        now=now,
        limit=limit,
    )


def skip_lanes(connection: Connection, batch_id: BatchId, dead: Sequence[Lane], now: DateTime, limit: int) -> int:
    """Skip at most `limit` contacts of lanes that are never open; their batch's counts are locked by this transaction.

    SKIP LOCKED: a contact that an operator has locked does not stop the others.
    """
    return run(
        connection,
        """
        UPDATE contacts SET status = 'skipped', status_reason = 'window_never_opens', finished_at = :now
        WHERE id IN (SELECT id FROM contacts WHERE batch_id = :id AND lane = ANY(:lanes) AND status = 'pending'
                     LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
        """,
        id=batch_id,
        lanes=[str(lane) for lane in dead],
        now=now,
        limit=limit,
    )
