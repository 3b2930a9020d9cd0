"""The inbox: reports of providers, committed before they are acknowledged and before anything is decided about them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain import sip
from dialer.domain.call import CallEvent, CallFacts, EventKind, HungUpBy
from dialer.domain.call_progress import Verdict
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import Outcome
from dialer.domain.quarantine import FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS, MOST_EQUAL, Failure
from dialer.errors import UnreadableReport
from dialer.store.database import moment, rows, run
from dialer.store.quarantine import Fault, storable

CALL_ORDER = tuple(EventKind)
LONGEST_TALK_SECONDS = 7 * 86_400
# The longest key that fits into the index on (trunk_id, event_key) in any case.
LONGEST_KEY = 1_000
LONGEST_DISPOSITION = 100
# A report whose attempt, batch or contact is locked by another session is tried again after this.
LOCKED_AGAIN_SECONDS = 2
# The latest reports: if none of them was settled, those that fail need not be to blame (P5).
LATEST = 1_000
# The ledger's clock, read once for each statement, so that an index can be used.
NOW = "(SELECT dialer_now())"
_FACTS = "sip_code, q850_cause, sip_call_id, hung_up_by, disposition, opt_out, callback_at"
_REPORTED = f"event_key, attempt_id, kind, at, outcome, cause, talk_seconds, provider_call_id, {_FACTS}"
_COLUMNS = f"id, trunk_id, received_at, {_REPORTED}"


@dataclass(frozen=True, slots=True)
class ReceivedReport:
    """A report in the inbox, its place there, and the trunk that it came from."""

    id: int
    trunk_id: TrunkId
    event: CallEvent
    received_at: DateTime


def receive(connection: Connection, trunk_id: TrunkId, events: Sequence[CallEvent]) -> int:
    """Store the reports that are not there yet, by the provider's own key; return how many were new.

    All sessions store reports in one order, so that those that store the same reports do not deadlock: by attempt, then
    in the order in which a call goes through them.
    """
    events = sorted(events, key=lambda event: (event.attempt_id, CALL_ORDER.index(event.kind), event.key))
    return run(
        connection,
        f"""
        INSERT INTO inbox (trunk_id, {_REPORTED})
        SELECT :trunk, {_REPORTED} FROM unnest(
            CAST(:keys AS text[]), CAST(:attempts AS uuid[]), CAST(:kinds AS text[]), CAST(:ats AS timestamptz[]),
            CAST(:outcomes AS text[]), CAST(:causes AS text[]), CAST(:talk AS double precision[]),
            CAST(:call_ids AS text[]), CAST(:sip_codes AS integer[]), CAST(:q850_causes AS integer[]),
            CAST(:sip_call_ids AS text[]), CAST(:hung_up_by AS text[]), CAST(:dispositions AS text[]),
            CAST(:opt_outs AS boolean[]), CAST(:callbacks AS text[]))
            AS e ({_REPORTED})
        ON CONFLICT (trunk_id, event_key) DO NOTHING
        """,
        trunk=trunk_id,
        keys=[event.key for event in events],
        attempts=[event.attempt_id for event in events],
        kinds=[event.kind for event in events],
        ats=[event.at for event in events],
        outcomes=[event.outcome for event in events],
        causes=[event.cause for event in events],
        talk=[event.talk_seconds for event in events],
        call_ids=[event.provider_call_id for event in events],
        sip_codes=[event.facts.sip_code for event in events],
        q850_causes=[event.facts.q850_cause for event in events],
        sip_call_ids=[event.facts.sip_call_id for event in events],
        hung_up_by=[event.facts.hung_up_by for event in events],
        dispositions=[event.facts.disposition for event in events],
        opt_outs=[event.facts.opt_out for event in events],
        callbacks=[event.facts.callback_at for event in events],
    )


def cleaned(event: CallEvent) -> CallEvent:
    """Make a report storable, whatever its network has put into it."""
    key = storable(event.key)
    return replace(
        event,
        key=key if len(key) <= LONGEST_KEY else sha256(key.encode()).hexdigest(),
        cause=event.cause and storable(event.cause),
        talk_seconds=_believable(event.talk_seconds),
        provider_call_id=event.provider_call_id and storable(event.provider_call_id),
        facts=_believable_facts(event.facts),
    )


def _believable_facts(facts: CallFacts) -> CallFacts:
    """Drop codes that are not valid: a third party's provider may report anything."""
    cause = facts.q850_cause
    return replace(
        facts,
        sip_code=sip.final_code(facts.sip_code),
        q850_cause=cause if cause is not None and 0 <= cause <= sip.LAST_CAUSE else None,
        sip_call_id=facts.sip_call_id and storable(facts.sip_call_id)[:LONGEST_KEY],
        disposition=(facts.disposition and storable(facts.disposition)[:LONGEST_DISPOSITION]) or None,
        callback_at=facts.callback_at and storable(facts.callback_at)[:LONGEST_DISPOSITION],
    )


def _believable(talk_seconds: float | None) -> float | None:
    """Drop a length that no network can have measured: arithmetic with it fails and would stop all other reports."""
    return talk_seconds if talk_seconds is not None and 0 <= talk_seconds <= LONGEST_TALK_SECONDS else None


def take_page(connection: Connection, limit: int) -> list[ReceivedReport]:
    """Lock the reports that have been due longest and are not being settled, in the order in which they came."""
    return _received(
        rows(
            connection,
            f"""
            SELECT {_COLUMNS} FROM inbox WHERE settled_at IS NULL AND due_at <= {NOW}
            ORDER BY due_at, id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
            """,
            limit=limit,
        )
    )


def take(connection: Connection, ids: Sequence[int]) -> list[ReceivedReport]:
    """Lock those of these reports that are not settled or being settled, in the order in which they came."""
    return _received(
        rows(
            connection,
            f"""
            SELECT {_COLUMNS} FROM inbox WHERE settled_at IS NULL AND id = ANY(:ids)
            FOR NO KEY UPDATE SKIP LOCKED
            """,
            ids=list(ids),
        )
    )


def due(connection: Connection, limit: int) -> list[int]:
    """List the reports that have been due longest."""
    records = rows(
        connection,
        f"SELECT id FROM inbox WHERE settled_at IS NULL AND due_at <= {NOW} ORDER BY due_at, id LIMIT :limit",
        limit=limit,
    )
    return [row.id for row in records]


def last_id(connection: Connection) -> int:
    """Return the id of the newest report; 0: there is none."""
    return int(rows(connection, "SELECT coalesce(max(id), 0) AS id FROM inbox")[0].id)


def of_attempt(connection: Connection, attempt_id: AttemptId, after_id: int) -> list[ReceivedReport]:
    """Read the reports on one attempt that came in after another report, settled or not."""
    return _received(
        rows(
            connection,
            f"SELECT {_COLUMNS} FROM inbox WHERE id > :after_id AND attempt_id = :attempt",
            after_id=after_id,
            attempt=attempt_id,
        )
    )


def _received(records: Sequence[Row[Any]]) -> list[ReceivedReport]:
    return [_report(row) for row in sorted(records, key=lambda row: row.id)]


def _report(row: Row[Any]) -> ReceivedReport:
    try:
        kind, outcome = EventKind(row.kind), Outcome(row.outcome) if row.outcome else None
        hung_up_by = HungUpBy(row.hung_up_by) if row.hung_up_by else None
    except ValueError as error:
        raise UnreadableReport(f"Report {row.id} cannot be read: {error}") from None
    event = CallEvent(
        key=row.event_key,
        attempt_id=row.attempt_id,
        kind=kind,
        at=moment(row.at),
        outcome=outcome,
        cause=row.cause,
        talk_seconds=row.talk_seconds,
        provider_call_id=row.provider_call_id,
        facts=CallFacts(
            row.sip_code, row.q850_cause, row.sip_call_id, hung_up_by, row.disposition, row.opt_out, row.callback_at
        ),
    )
    return ReceivedReport(row.id, row.trunk_id, event, moment(row.received_at))


@dataclass(frozen=True, slots=True)
class ReportVerdict:
    """What became of a report in the inbox."""

    id: int
    verdict: Verdict


def mark_settled(connection: Connection, verdicts: Sequence[ReportVerdict], now: DateTime) -> int:
    """Write the verdict on each report; it is settled then."""
    return run(
        connection,
        """
        UPDATE inbox i SET settled_at = :now, verdict = v.verdict
        FROM unnest(CAST(:ids AS bigint[]), CAST(:verdicts AS text[])) AS v (id, verdict)
        WHERE i.id = v.id
        """,
        ids=[report.id for report in verdicts],
        verdicts=[report.verdict for report in verdicts],
        now=now,
    )


def put_off(connection: Connection, ids: Sequence[int]) -> int:
    """Let reports wait a moment because rows that they need are locked. Not counted as a failure."""
    return run(
        connection,
        """
        UPDATE inbox SET due_at = dialer_now() + :seconds * interval '1 second'
        WHERE id IN (SELECT id FROM inbox WHERE id = ANY(:ids) AND settled_at IS NULL FOR NO KEY UPDATE SKIP LOCKED)
        """,
        ids=list(ids),
        seconds=LOCKED_AGAIN_SECONDS,
    )


@dataclass(frozen=True, slots=True)
class FailedReport:
    """A report that has failed again, under its lock."""

    id: int
    attempt_id: AttemptId
    fault: Fault
    tries: int
    seconds: float


def note_failures(connection: Connection, faults: Mapping[int, Fault]) -> list[FailedReport]:
    """Count that these reports could not be settled, and let each wait with a growing backoff.

    Only those are written, and returned, that this transaction could lock.
    """
    written = rows(
        connection,
        f"""
        UPDATE inbox i SET
            due_at = dialer_now() + interval '1 second'
                     * least({LAST_BACKOFF_SECONDS}, {FIRST_BACKOFF_SECONDS} * 2 ^ least(i.tries, 10)),
            tries = i.tries + 1, failing_since = coalesce(i.failing_since, dialer_now()),
            error_kind = f.kind, error = f.error
        FROM unnest(CAST(:ids AS bigint[]), CAST(:kinds AS text[]), CAST(:errors AS text[])) AS f (id, kind, error)
        WHERE i.id = f.id AND i.id IN (SELECT id FROM inbox WHERE id = ANY(:ids) AND settled_at IS NULL
                                       FOR NO KEY UPDATE SKIP LOCKED)
        RETURNING i.id, i.attempt_id, i.tries, extract(epoch FROM dialer_now() - i.failing_since) AS seconds
        """,
        ids=list(faults),
        kinds=[fault.kind for fault in faults.values()],
        errors=[fault.error for fault in faults.values()],
    )
    return [FailedReport(row.id, row.attempt_id, faults[row.id], row.tries, float(row.seconds)) for row in written]


def judge(connection: Connection, failed: Sequence[FailedReport]) -> list[FailedReport]:
    """Return the failed reports whose own data alone can be to blame."""
    of_data = [report for report in failed if report.fault.is_of_data]
    if not of_data:
        return []
    equal = _equal(connection, {report.fault.kind for report in of_data})
    alone = [report for report in of_data if _failure(report, equal[report.fault.kind]).is_the_rows_own]
    return [report for report in alone if _settled_within(connection, report.seconds)]


def _failure(report: FailedReport, equal: int) -> Failure:
    return Failure(report.fault.is_of_data, report.tries, report.seconds, equal, others_go_well=True)


def _equal(connection: Connection, kinds: Collection[str]) -> dict[str, int]:
    """Count the reports that fail with each kind of error now, up to one more than MOST_EQUAL."""
    records = rows(
        connection,
        f"""
        SELECT k.kind, (SELECT count(*) FROM (
            SELECT 1 FROM inbox WHERE error_kind = k.kind AND settled_at IS NULL AND tries > 0
            LIMIT {MOST_EQUAL + 1}) AS s) AS n
        FROM unnest(CAST(:kinds AS text[])) AS k (kind)
        """,
        kinds=list(kinds),
    )
    return {row.kind: row.n for row in records}


def _settled_within(connection: Connection, seconds: float) -> bool:
    """Say whether one of the latest reports has moved its attempt within so many seconds."""
    (row,) = rows(
        connection,
        f"""
        SELECT EXISTS (
            SELECT 1 FROM (SELECT verdict, settled_at FROM inbox ORDER BY id DESC LIMIT {LATEST}) AS latest
            WHERE verdict = 'applied' AND settled_at > dialer_now() - :seconds * interval '1 second') AS is_so
        """,
        seconds=seconds,
    )
    return bool(row.is_so)


def reopen(connection: Connection, row_ids: Sequence[int]) -> int:
    """Let quarantined reports be settled again, as if they had just come in."""
    return run(
        connection,
        """
        UPDATE inbox SET settled_at = NULL, verdict = NULL, due_at = dialer_now(), tries = 0, failing_since = NULL,
                         error_kind = NULL, error = NULL
        WHERE id = ANY(:ids) AND verdict IN ('set_aside', 'quarantined')
        """,
        ids=list(row_ids),
    )


def left_behind(connection: Connection, limit: int) -> list[int]:
    """List reports that a worker of the previous release closed without effect, of calls that are still in progress."""
    records = rows(
        connection,
        """
        SELECT i.id FROM inbox i JOIN attempts a ON a.id = i.attempt_id AND a.trunk_id = i.trunk_id
        WHERE i.verdict = 'set_aside' AND a.rescue_at IS NOT NULL
        LIMIT :limit FOR NO KEY UPDATE OF i SKIP LOCKED
        """,
        limit=limit,
    )
    return [row.id for row in records]


def is_empty(connection: Connection) -> bool:
    """Say whether nothing is due to be settled."""
    return not rows(connection, f"SELECT 1 FROM inbox WHERE settled_at IS NULL AND due_at <= {NOW} LIMIT 1")


def sentences(connection: Connection) -> list[str]:
    """Describe for operators which kinds of error keep reports from being settled."""
    records = rows(
        connection,
        """
        SELECT error_kind, count(*) AS n, min(failing_since) AS since, max(tries) AS tries,
               (array_agg(error ORDER BY tries DESC))[1] AS error
        FROM inbox WHERE settled_at IS NULL AND tries > 0 GROUP BY error_kind ORDER BY n DESC, error_kind
        """,
    )
    return [
        f"{row.n:,} call reports cannot be settled since {row.since:%Y-%m-%d %H:%M:%S} UTC and are tried again every "
        f"minute, up to {row.tries} times so far: {row.error}"
        for row in records
    ]
