"""The ledger of attempts in SQL. Rows are locked in id order wherever several are written."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.attempt import Attempt, AttemptUpdate, OverdueAttempt, PlacedCall, UnclearCall
from dialer.domain.call import CallEvent, CallFacts, CallHandle, OtherAttempts
from dialer.domain.call_progress import CallProgress
from dialer.domain.ids import AttemptId, BatchId, ContactId, TrunkId
from dialer.domain.lane import Lane
from dialer.domain.outcomes import Outcome
from dialer.domain.states import AttemptState
from dialer.domain.timeouts import CALL_SECONDS, FIRST_ASK_SECONDS, GONE_SECONDS, GRANT_SECONDS, LAST_ASK_SECONDS
from dialer.domain.trunk import Trunk
from dialer.store.database import checked_last, moment, optional_moment, passing_over, rows, run
from dialer.store.numbers import WORKSPACE, config_of

LIVE = "('reserved', 'unclear', 'placed', 'ringing', 'answered')"
# All columns, of attempts and of attempts_archive.
COLUMNS = (
    "id", "batch_id", "contact_id", "trunk_id", "phone_number_id", "to_number", "from_number", "state", "outcome",
    "cause", "provider_call_id", "local_on", "utc_on", "granted_at", "created_at", "placed_at", "ringing_at",
    "answered_at", "ended_at", "talk_seconds", "rescue_at", "allowed_by", "gone_at", "sent_at", "sip_code",
    "q850_cause", "sip_call_id", "hung_up_by", "is_counted", "disposition", "opt_out", "reported_outcome",
    "workspace_id", "looked_up_at", "callback_at", "callback_refused",
)  # fmt: skip
_ATTEMPT = """
a.id, a.batch_id, a.contact_id, a.trunk_id, a.phone_number_id, a.utc_on, a.local_on, a.created_at, a.state,
a.provider_call_id, a.ringing_at, a.answered_at, a.ended_at, a.outcome, a.cause, a.talk_seconds, a.reported_outcome,
a.callback_at
"""
_CHANGED = "a.id, a.batch_id, a.contact_id, a.trunk_id, a.provider_call_id, a.cause"
_CALL = f"""
a.id, a.to_number, a.from_number, a.created_at, a.provider_call_id, a.trunk_id, t.provider, {config_of("t")} AS config,
{WORKSPACE}
""".strip()


@dataclass(frozen=True, slots=True)
class ChangedAttempt:
    """An attempt that was written as `placed` or `unclear`."""

    id: AttemptId
    batch_id: BatchId
    contact_id: ContactId
    trunk_id: TrunkId
    provider_call_id: str | None
    cause: str | None


def lock(
    connection: Connection, attempt_ids: Collection[AttemptId], *, skip_locked: bool = False
) -> dict[AttemptId, Attempt]:
    """Lock these attempts in id order and read them; those that do not exist, or are skipped, are left out."""
    records = rows(
        connection,
        f"""
        SELECT {_ATTEMPT}, c.attempts AS contact_attempts, c.refusals AS contact_refusals, c.lane,
               c.expires_at AS contact_expires_at,
               p.talk_seconds AS batch_talk_seconds, h.trunk_id IS NOT NULL AS trunk_has_failed, b.max_call_seconds
        FROM attempts a JOIN contacts c ON c.id = a.contact_id JOIN batch_progress p ON p.batch_id = a.batch_id
        JOIN batches b ON b.id = a.batch_id LEFT JOIN trunk_health h ON h.trunk_id = a.trunk_id
        WHERE a.id = ANY(:ids) ORDER BY a.id FOR NO KEY UPDATE OF a {passing_over(skip_locked)}
        """,
        ids=list(set(attempt_ids)),
    )
    return {row.id: _attempt(row) for row in records}


def existing(connection: Connection, attempt_ids: Collection[AttemptId]) -> set[AttemptId]:
    """Return those of these attempts that exist."""
    records = rows(connection, "SELECT id FROM attempts WHERE id = ANY(:ids)", ids=list(attempt_ids))
    return {row.id for row in records}


def _attempt(row: Row[Any]) -> Attempt:
    progress = CallProgress(
        state=AttemptState(row.state),
        provider_call_id=row.provider_call_id,
        ringing_at=optional_moment(row.ringing_at),
        answered_at=optional_moment(row.answered_at),
        ended_at=optional_moment(row.ended_at),
        outcome=Outcome(row.outcome) if row.outcome else None,
        cause=row.cause,
        talk_seconds=row.talk_seconds,
        reported_outcome=Outcome(row.reported_outcome) if row.reported_outcome else None,
    )
    return Attempt(
        id=row.id,
        batch_id=row.batch_id,
        contact_id=row.contact_id,
        trunk_id=row.trunk_id,
        number_id=row.phone_number_id,
        utc_on=row.utc_on,
        local_on=row.local_on,
        created_at=moment(row.created_at),
        progress=progress,
        contact_attempts=row.contact_attempts,
        contact_refusals=row.contact_refusals,
        lane=Lane.parse(row.lane),
        batch_talk_seconds=row.batch_talk_seconds,
        trunk_has_failed=row.trunk_has_failed,
        max_call_seconds=row.max_call_seconds,
        callback_at=optional_moment(row.callback_at),
        contact_expires_at=optional_moment(row.contact_expires_at),
    )


def write_updates(connection: Connection, updates: Sequence[AttemptUpdate]) -> int:
    """Write how far the calls of locked attempts have come.

    A report may be faster than the answer to the request: the call that it is about was placed when that was sent. The
    network's clock may be wrong: no time is stored that lies before the attempt or after this moment.
    """
    columns = {
        field.name: [getattr(update.progress, field.name) for update in updates]
        for field in fields(CallProgress)
        if field.name not in ("facts", "reported_outcome")
    } | {
        field.name: [getattr(update.progress.facts, field.name) for update in updates]
        for field in fields(CallFacts)
        if field.name != "callback_at"
    }
    return run(
        connection,
        f"""
        UPDATE attempts a SET
            state = c.state, provider_call_id = c.provider_call_id, outcome = c.outcome, cause = c.cause,
            talk_seconds = c.talk_seconds, rescue_at = c.rescue_at, sip_code = c.sip_code, q850_cause = c.q850_cause,
            sip_call_id = c.sip_call_id, hung_up_by = c.hung_up_by, is_counted = c.is_counted,
            disposition = coalesce(c.disposition, a.disposition),
            opt_out = coalesce(a.opt_out OR c.opt_out, c.opt_out, a.opt_out),
            callback_at = c.callback_at, callback_refused = coalesce(c.callback_refused, a.callback_refused),
            placed_at = coalesce(a.placed_at, CASE WHEN c.is_reported THEN a.sent_at END),
            ringing_at = CASE WHEN c.ringing_at IS NOT NULL
                            THEN greatest(a.created_at, least(c.ringing_at, clock.now)) END,
            answered_at = CASE WHEN c.answered_at IS NOT NULL
                               THEN greatest(a.created_at, least(c.answered_at, clock.now)) END,
            ended_at = CASE WHEN c.ended_at IS NOT NULL
                            THEN greatest(a.created_at, least(c.ended_at, clock.now)) END
        FROM (SELECT dialer_now() AS now) AS clock,
             unnest(CAST(:ids AS uuid[]), CAST(:rescue_at AS timestamptz[]), CAST(:state AS text[]),
                    CAST(:provider_call_id AS text[]), CAST(:ringing_at AS timestamptz[]),
                    CAST(:answered_at AS timestamptz[]), CAST(:ended_at AS timestamptz[]), CAST(:outcome AS text[]),
                    CAST(:cause AS text[]), CAST(:talk_seconds AS double precision[]), CAST(:sip_code AS integer[]),
                    CAST(:q850_cause AS integer[]), CAST(:sip_call_id AS text[]), CAST(:hung_up_by AS text[]),
                    CAST(:disposition AS text[]), CAST(:opt_out AS boolean[]), CAST(:callback_at AS timestamptz[]),
                    CAST(:callback_refused AS text[]), CAST(:is_counted AS boolean[]),
                    CAST(:is_reported AS boolean[]))
             AS c (id, rescue_at, state, provider_call_id, ringing_at, answered_at, ended_at, outcome, cause,
                   talk_seconds, sip_code, q850_cause, sip_call_id, hung_up_by, disposition, opt_out, callback_at,
                   callback_refused, is_counted, is_reported)
        WHERE a.id = c.id AND {checked_last(f"a.state IN {LIVE}")}
        """,
        ids=[update.id for update in updates],
        rescue_at=[update.rescue_at for update in updates],
        is_counted=[update.is_counted for update in updates],
        is_reported=[update.is_reported for update in updates],
        callback_at=[update.callback.at for update in updates],
        callback_refused=[update.callback.refused for update in updates],
        **columns,
    )


def write_details(connection: Connection, events: Sequence[CallEvent]) -> int:
    """Write what agents report of locked attempts that are over already, and outcomes reported during the call."""
    return run(
        connection,
        """
        UPDATE attempts a SET disposition = coalesce(r.disposition, a.disposition),
                              opt_out = coalesce(a.opt_out OR r.opt_out, r.opt_out, a.opt_out),
                              reported_outcome = coalesce(r.outcome, a.reported_outcome)
        FROM unnest(CAST(:ids AS uuid[]), CAST(:dispositions AS text[]), CAST(:opt_outs AS boolean[]),
                    CAST(:outcomes AS text[]))
             AS r (id, disposition, opt_out, outcome)
        WHERE a.id = r.id
        """,
        ids=[event.attempt_id for event in events],
        dispositions=[event.facts.disposition for event in events],
        opt_outs=[event.facts.opt_out for event in events],
        outcomes=[event.early_outcome for event in events],
    )


def mark_placed(
    connection: Connection,
    placed: Sequence[PlacedCall],
    rescue_at: DateTime | None = None,
    *,
    skip_locked: bool = False,
) -> list[ChangedAttempt]:
    """Write that the network has these calls. Those whose reports came first, or that rescue closed, keep their state,
    and get the network's id if they have none.

    `rescue_at` None: the time of their next rescue does not change. Return the attempts that are `placed` now.
    """
    changed = rows(
        connection,
        f"""
        WITH locked AS MATERIALIZED (
            SELECT a.id, p.provider_call_id, a.state IN ('reserved', 'unclear') AS is_first
            FROM unnest(CAST(:ids AS uuid[]), CAST(:call_ids AS text[])) AS p (id, provider_call_id)
            JOIN attempts a ON a.id = p.id
            ORDER BY a.id FOR NO KEY UPDATE OF a {passing_over(skip_locked)}),
        written AS (
            UPDATE attempts a SET state = CASE WHEN l.is_first THEN 'placed' ELSE a.state END,
                                  placed_at = coalesce(a.placed_at, a.sent_at, dialer_now()),
                                  provider_call_id = l.provider_call_id,
                                  rescue_at = coalesce(CASE WHEN l.is_first THEN CAST(:rescue_at AS timestamptz) END,
                                                       a.rescue_at)
            FROM locked l
            WHERE a.id = l.id
              AND {checked_last("l.is_first OR (a.provider_call_id IS NULL AND a.state <> 'refused')")}
            RETURNING {_CHANGED}, l.is_first)
        SELECT {_CHANGED} FROM written a WHERE is_first
        """,
        ids=[call.attempt_id for call in placed],
        call_ids=[call.provider_call_id for call in placed],
        rescue_at=rescue_at,
    )
    return [ChangedAttempt(**row._mapping) for row in changed]


def mark_unclear(
    connection: Connection,
    unclear: Sequence[UnclearCall],
    rescue_at: DateTime,
    *,
    skip_locked: bool = False,
) -> list[ChangedAttempt]:
    """Write that these calls may exist, with what is known of the cause. Return the attempts that were changed."""
    changed = rows(
        connection,
        f"""
        WITH locked AS MATERIALIZED (
            SELECT a.id, u.cause
            FROM unnest(CAST(:ids AS uuid[]), CAST(:causes AS text[])) AS u (id, cause) JOIN attempts a ON a.id = u.id
            ORDER BY a.id FOR NO KEY UPDATE OF a {passing_over(skip_locked)})
        UPDATE attempts a SET state = 'unclear', cause = locked.cause, rescue_at = :rescue_at
        FROM locked WHERE a.id = locked.id AND {checked_last("a.state = 'reserved'")}
        RETURNING {_CHANGED}
        """,
        ids=[call.attempt_id for call in unclear],
        causes=[call.cause for call in unclear],
        rescue_at=rescue_at,
    )
    return [ChangedAttempt(**row._mapping) for row in changed]


def give_back_days(connection: Connection, refused: Sequence[Attempt]) -> None:
    """Subtract refused attempts from the count of their batch's local day (P2)."""
    run(
        connection,
        """
        UPDATE batch_days d SET attempts = d.attempts - back.n
        FROM (SELECT batch_id, local_on, count(*) AS n
              FROM unnest(CAST(:batches AS uuid[]), CAST(:days AS date[])) AS u (batch_id, local_on)
              GROUP BY batch_id, local_on) AS back
        WHERE (d.batch_id, d.local_on) = (back.batch_id, back.local_on)
        """,
        batches=[attempt.batch_id for attempt in refused],
        days=[attempt.local_on for attempt in refused],
    )


def take_overdue(connection: Connection, now: DateTime, again_at: DateTime, limit: int) -> list[OverdueAttempt]:
    """Take the attempts that are due for rescue; should this process die, they are due again at `again_at`."""
    records = rows(
        connection,
        f"""
        WITH overdue AS MATERIALIZED (
            SELECT id FROM attempts WHERE rescue_at <= :now ORDER BY rescue_at LIMIT :limit
            FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE attempts a SET rescue_at = :again_at, looked_up_at = :now FROM overdue, trunks t, batches b
        WHERE a.id = overdue.id AND t.id = a.trunk_id AND b.id = a.batch_id
        RETURNING {_CALL}, a.state, a.gone_at,
                  a.created_at < CAST(:now AS timestamptz) - interval '{CALL_SECONDS} seconds'
                  OR coalesce(a.answered_at + b.max_call_seconds * interval '1 second' <= :now, false) AS is_too_long,
                  -- Workers of releases before 0007 note no permits.
                  a.state = 'reserved' AND a.sent_at IS NULL AND a.allowed_by ? 'needs_permit' AS is_unsent,
                  EXISTS (SELECT 1 FROM inbox WHERE attempt_id = a.id AND kind = 'ended' AND verdict = 'quarantined')
                  AS has_end_in_quarantine,
                  EXISTS (SELECT 1 FROM inbox WHERE attempt_id = a.id AND settled_at IS NULL) AS has_report_waiting,
                  -- Later than that by what a report may take from its network to the inbox.
                  EXISTS (SELECT 1 FROM trunk_links l
                          WHERE l.trunk_id = a.trunk_id AND l.linked_at <= a.created_at
                          AND l.heard_at >= a.gone_at + interval '2 seconds') AS heard_without_break,
                  coalesce(a.created_at < t.network_since + interval '{GRANT_SECONDS} seconds', false)
                  AS network_has_changed
        """,
        now=now,
        again_at=again_at,
        limit=limit,
    )
    return [
        OverdueAttempt(
            call=_handle(row),
            trunk=Trunk(row.trunk_id, row.provider, row.config, row.workspace),
            state=AttemptState(row.state),
            is_unsent=row.is_unsent,
            has_end_in_quarantine=row.has_end_in_quarantine,
            has_report_waiting=row.has_report_waiting,
            gone_at=optional_moment(row.gone_at),
            heard_without_break=row.heard_without_break,
            network_has_changed=row.network_has_changed,
            is_too_long=row.is_too_long,
        )
        for row in records
    ]


def others(connection: Connection, attempt_ids: Sequence[AttemptId]) -> dict[AttemptId, OtherAttempts]:
    """Read the other attempts between the numbers of these; attempts whose own call is known are left out."""
    records = rows(
        connection,
        f"""
        SELECT a.id, o.call_ids, o.is_one_unknown
        FROM attempts a
        CROSS JOIN LATERAL (
            SELECT array_remove(array_agg(provider_call_id), NULL) AS call_ids,
                   coalesce(bool_or(provider_call_id IS NULL AND state IN {LIVE}), false) AS is_one_unknown
            FROM attempts
            -- The number and the day, for their index: a number may be in several workspaces.
            WHERE phone_number_id = ANY(ARRAY(SELECT id FROM phone_numbers WHERE phone_number = a.from_number))
              AND utc_on BETWEEN a.utc_on - 1 AND a.utc_on + 1
              AND created_at BETWEEN a.created_at - interval '5 minutes' AND a.created_at + interval '5 minutes'
              AND to_number = a.to_number AND id <> a.id) AS o
        WHERE a.id = ANY(:ids) AND a.provider_call_id IS NULL
        """,
        ids=list(attempt_ids),
    )
    return {row.id: OtherAttempts(frozenset(row.call_ids or ()), row.is_one_unknown) for row in records}


def trunks_of(connection: Connection, attempt_ids: Sequence[AttemptId]) -> dict[AttemptId, TrunkId]:
    """Return the trunks of these attempts; attempts that the ledger does not know are left out."""
    records = rows(connection, "SELECT id, trunk_id FROM attempts WHERE id = ANY(:ids)", ids=list(attempt_ids))
    return {row.id: row.trunk_id for row in records}


def mark_gone(connection: Connection, attempt_ids: Sequence[AttemptId]) -> int:
    """Write since when their network does not have these attempts, unless that is written already.

    Of those that were placed, the network is asked again soon: reports that were missed no longer arrive.
    """
    return run(
        connection,
        f"""
        WITH locked AS (SELECT id FROM attempts WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE attempts a
        SET gone_at = dialer_now(),
            rescue_at = CASE WHEN a.state IN ('placed', 'ringing', 'answered')
                             THEN least(a.rescue_at, dialer_now() + interval '{GONE_SECONDS} seconds')
                             ELSE a.rescue_at END
        FROM locked
        WHERE a.id = locked.id AND a.gone_at IS NULL AND a.rescue_at IS NOT NULL
        """,
        ids=list(attempt_ids),
    )


def rescue_trunk_now(connection: Connection, trunk_id: TrunkId) -> int:
    """Have rescue ask at once about all calls of a trunk, whose reports may have been missed.

    Calls that are just being placed are left out: their network may not have them yet (P1).
    """
    return run(
        connection,
        """
        WITH locked AS (
            SELECT id FROM attempts
            WHERE trunk_id = :trunk AND rescue_at > dialer_now() AND state IN ('placed', 'ringing', 'answered')
            ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE attempts a SET rescue_at = dialer_now() FROM locked WHERE a.id = locked.id AND a.rescue_at IS NOT NULL
        """,
        trunk=trunk_id,
    )


def rescue_now(connection: Connection, attempt_ids: Sequence[AttemptId]) -> int:
    """Have rescue ask at once about those of these calls that are not over."""
    return run(
        connection,
        """
        WITH locked AS (SELECT id FROM attempts WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE attempts a SET rescue_at = dialer_now() FROM locked WHERE a.id = locked.id AND a.rescue_at IS NOT NULL
        """,
        ids=list(attempt_ids),
    )


def rescue_later(connection: Connection, attempt_ids: Sequence[AttemptId]) -> int:
    """Have rescue ask again about answered calls that are up, once they have lasted twice as long as now.

    At the latest when they have lasted as long as they may; from then on each rescue hangs them up.
    """
    return run(
        connection,
        f"""
        WITH locked AS (SELECT id FROM attempts WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE attempts a SET rescue_at = least(
            clock.now + least(greatest(clock.now - a.answered_at, interval '{FIRST_ASK_SECONDS} seconds'),
                              interval '{LAST_ASK_SECONDS} seconds'),
            greatest(a.created_at + interval '{CALL_SECONDS} seconds', clock.now)
                + interval '{FIRST_ASK_SECONDS} seconds',
            CASE WHEN a.answered_at + b.max_call_seconds * interval '1 second' > clock.now
                 THEN a.answered_at + b.max_call_seconds * interval '1 second' END)
        FROM locked, batches b, (SELECT dialer_now() AS now) AS clock
        WHERE a.id = locked.id AND b.id = a.batch_id AND a.state = 'answered'
        """,
        ids=list(attempt_ids),
    )


def to_hang_up(connection: Connection, batch_id: BatchId | None = None) -> list[tuple[Trunk, CallHandle]]:
    """Read the calls in progress of batches that were cancelled with hang-up (or of one such batch).

    A call that is just being placed is left out: its network may not know it yet. A later call of this returns it.
    """
    records = rows(
        connection,
        f"""
        SELECT {_CALL}
        FROM batches b
        JOIN batch_progress p ON p.batch_id = b.id AND p.dialing > 0
        JOIN attempts a ON a.batch_id = b.id AND a.state IN ('unclear', 'placed', 'ringing', 'answered')
        JOIN trunks t ON t.id = a.trunk_id
        WHERE b.hang_up AND b.archived_at IS NULL AND b.status = 'cancelled'
          AND (CAST(:batch AS uuid) IS NULL OR b.id = :batch)
        ORDER BY a.id
        """,
        batch=batch_id,
    )
    return [(Trunk(row.trunk_id, row.provider, row.config, row.workspace), _handle(row)) for row in records]


def _handle(row: Row[Any]) -> CallHandle:
    return CallHandle(row.id, row.to_number, row.from_number, moment(row.created_at), row.provider_call_id)
