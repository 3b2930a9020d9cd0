"""Gates: their codes are documented, and each gate says what it has found and when it could pass."""

import re
from dataclasses import replace
from datetime import date, time
from pathlib import Path
from typing import Any

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialer.domain.batch import Batch
from dialer.domain.calling_rules import CallingRules
from dialer.domain.dispatch_plan import number_route
from dialer.domain.explanation import BatchFacts, Certainty, ContactGroup, Verdict, explain, explain_batch
from dialer.domain.gates.codes import KINDS, GateCode
from dialer.domain.gates.messages import PHRASES, message_of
from dialer.domain.gates.of_batch import StatusChange
from dialer.domain.gates.of_contact import WAITS_FOR, ContactFacts, LiveAttempt
from dialer.domain.gates.room import ROOM, SlotUsage
from dialer.domain.lane import Lane
from dialer.domain.outcomes import Outcome
from dialer.domain.retry import RetryRules
from dialer.domain.rotation import NumberChoice
from dialer.domain.states import AttemptState, BatchStatus, ContactStatus
from dialer.domain.window import CallingWindow
from domain.test_dispatch_plan import EPOCH, NINE_TO_FIVE, NOW, batch, number

DOCS = Path(__file__).parents[2] / "docs" / "why-not-called.md"
PENDING = ContactFacts(ContactStatus.PENDING)
US_ALONE = CallingRules(frozenset({"US"}))


def facts(of: Batch | None = None, **given: Any) -> BatchFacts:
    """A batch of which every gate passes, with these facts."""
    routes = (number_route(number(), NOW),)
    choice = NumberChoice((number(),))
    usual = BatchFacts(of or batch(), (number(),), StatusChange(), choice, 0, routes, SlotUsage(EPOCH))
    return replace(usual, **given)


def reason(of: BatchFacts, contact: ContactFacts = PENDING, now: pendulum.DateTime = NOW) -> GateCode | None:
    blocked = explain(of, contact, now).reason
    return blocked.code if blocked else None


def test_every_code_has_a_kind_and_words_and_is_documented_with_its_meaning_and_advice() -> None:
    assert set(KINDS) == set(PHRASES) == set(GateCode)
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (\w+) \|", DOCS.read_text(), re.MULTILINE)
    documented = {code: (meaning, advice) for code, meaning, advice in rows}
    assert documented == {code: (kind.meaning, kind.advice) for code, kind in KINDS.items()}


def test_the_codes_of_a_class_are_documented_under_it() -> None:
    sections = re.split(r"^## ", DOCS.read_text(), flags=re.MULTILINE)
    for section in sections:
        classes = {KINDS[GateCode(code)].gate_class for code in re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)}
        assert classes <= {section.split(":")[0].split(",")[0].strip().lower()}


@pytest.mark.parametrize(
    ("contact", "code"),
    [
        (PENDING, None),
        (replace(PENDING, is_suppressed=True), GateCode.SUPPRESSED),
        (replace(PENDING, expires_at=NOW), GateCode.EXPIRED),
        (replace(PENDING, expires_at=NOW.add(seconds=1)), None),
        (replace(PENDING, attempts=1), GateCode.ATTEMPTS_USED),
        (ContactFacts(ContactStatus.WAITING, due_at=NOW.add(seconds=1)), GateCode.RETRY_NOT_DUE),
        (ContactFacts(ContactStatus.WAITING, due_at=NOW), None),
        (ContactFacts(ContactStatus.DIALING), GateCode.IN_CALL),
        (ContactFacts(ContactStatus.COMPLETED, outcome=Outcome.ANSWERED), GateCode.CONTACT_DONE),
        (ContactFacts(ContactStatus.FAILED, outcome=Outcome.BUSY), GateCode.ATTEMPTS_USED),
        (ContactFacts(ContactStatus.FAILED, outcome=Outcome.UNKNOWN), GateCode.CONTACT_DONE),
        (ContactFacts(ContactStatus.FAILED, outcome=Outcome.INVALID_NUMBER), GateCode.NUMBER_INVALID),
        (ContactFacts(ContactStatus.SKIPPED, status_reason="retries_taken_back"), GateCode.ATTEMPTS_USED),
        (ContactFacts(ContactStatus.SKIPPED, status_reason="another word"), GateCode.CONTACT_DONE),
        (
            replace(PENDING, phone_number="+4930901820", rules=CallingRules(frozenset({"US"}))),
            GateCode.NUMBER_FORBIDDEN,
        ),
    ],
)
def test_a_contact_is_held_by_its_own_state(contact: ContactFacts, code: GateCode | None) -> None:
    assert reason(facts(), contact) is code


@pytest.mark.parametrize(("waits_for", "code"), WAITS_FOR.items())
def test_what_a_contact_waits_for_has_a_code_of_its_own(waits_for: str, code: GateCode) -> None:
    contact = ContactFacts(ContactStatus.WAITING, due_at=NOW.add(hours=1), waits_for=waits_for)
    explained = explain(facts(), contact, NOW)
    assert explained.reason is not None
    assert (explained.reason.code, explained.reason.not_before) == (code, NOW.add(hours=1))


@pytest.mark.parametrize(
    ("attempt", "verdict"),
    [
        (LiveAttempt(AttemptState.UNCLEAR, NOW, is_sent=True), Verdict.UNRESOLVED),
        (LiveAttempt(AttemptState.RESERVED, NOW.subtract(seconds=15), is_sent=True), Verdict.UNRESOLVED),
        (LiveAttempt(AttemptState.RESERVED, NOW.subtract(seconds=14), is_sent=True), Verdict.IN_CALL),
        (LiveAttempt(AttemptState.RESERVED, NOW.subtract(seconds=15), is_sent=False), Verdict.IN_CALL),
        (LiveAttempt(AttemptState.PLACED, NOW.subtract(hours=1), is_sent=True), Verdict.IN_CALL),
    ],
)
def test_a_call_of_which_it_is_not_known_whether_it_was_placed_is_said_to_be_unresolved(
    attempt: LiveAttempt, verdict: Verdict
) -> None:
    explained = explain(facts(), ContactFacts(ContactStatus.DIALING, attempt=attempt), NOW)
    assert (explained.verdict, explained.next_at, explained.certainty) == (verdict, None, Certainty.UNKNOWN)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"status": BatchStatus.DRAFT}, GateCode.BATCH_DRAFT),
        ({"status": BatchStatus.PAUSED}, GateCode.BATCH_PAUSED),
        ({"status": BatchStatus.CANCELLED}, GateCode.BATCH_OVER),
        ({"expires_at": NOW}, GateCode.EXPIRED),
        ({"agent_is_active": False}, GateCode.AGENT_INACTIVE),
        ({"window": None}, GateCode.WINDOW_UNREADABLE),
        ({"window": replace(NINE_TO_FIVE, excluded_dates=frozenset({NOW.date()}))}, GateCode.EXCLUDED_DATE),
        ({"window": replace(NINE_TO_FIVE, start_time=time(16))}, GateCode.OUTSIDE_BATCH_HOURS),
        ({"dialing": 10}, GateCode.BATCH_SLOTS_FULL),
    ],
)
def test_a_contact_is_held_by_its_batch(given: dict[str, Any], code: GateCode) -> None:
    assert reason(facts(batch(**given))) is code


def test_a_contact_waits_for_room_if_as_many_others_are_called_before_it_as_there_are_slots() -> None:
    of = facts(batch(dialing=8))
    assert reason(of, replace(PENDING, ahead=1)) is None
    assert reason(of, replace(PENDING, ahead=2)) is GateCode.BATCH_SLOTS_FULL
    capped = facts(batch(max_calls_per_day=5), today=3)
    assert reason(capped, replace(PENDING, ahead=1)) is None
    assert reason(capped, replace(PENDING, ahead=2)) is GateCode.DAILY_CAP


def test_a_date_that_is_excluded_is_named_only_while_the_window_would_be_open() -> None:
    excluded = replace(NINE_TO_FIVE, excluded_dates=frozenset({NOW.date()}))
    assert (excluded.is_excluded(NOW), excluded.is_excluded(NOW.at(3))) == (True, False)
    assert not NINE_TO_FIVE.is_excluded(NOW.at(3))
    assert not replace(NINE_TO_FIVE, excluded_dates=frozenset({date(2026, 3, 3)})).is_excluded(NOW)


def test_the_gate_that_passes_last_counts_and_the_next_call_is_when_all_pass() -> None:
    """A retry that is due after the window closes is called when it opens again."""
    late = ContactFacts(ContactStatus.WAITING, due_at=NOW.at(20))
    explained = explain(facts(batch(window=NINE_TO_FIVE)), late, NOW)
    assert (explained.reason and explained.reason.code) is GateCode.RETRY_NOT_DUE
    assert (explained.next_at, explained.certainty) == (NOW.add(days=1).at(9), Certainty.EXACT)
    closed = explain(facts(batch(window=NINE_TO_FIVE)), late, NOW.at(18))
    assert closed.reason is not None
    assert (closed.reason.code, closed.next_at) == (GateCode.OUTSIDE_BATCH_HOURS, NOW.add(days=1).at(9))


def test_a_contact_that_expires_before_it_could_be_called_has_no_next_call() -> None:
    contact = ContactFacts(ContactStatus.WAITING, due_at=NOW.at(20), expires_at=NOW.at(23))
    explained = explain(facts(batch(window=NINE_TO_FIVE)), contact, NOW)
    assert (explained.verdict, explained.next_at, explained.certainty) == (Verdict.BLOCKED, None, Certainty.EXACT)


def test_when_calls_end_is_not_guessed() -> None:
    full = explain(facts(batch(dialing=10)), PENDING, NOW)
    assert (full.next_at, full.certainty) == (None, Certainty.UNKNOWN)
    due_later = explain(facts(batch(dialing=10)), ContactFacts(ContactStatus.WAITING, due_at=NOW.at(13)), NOW)
    assert (due_later.next_at, due_later.certainty) == (NOW.at(13), Certainty.ESTIMATED)


def test_a_batch_that_no_worker_takes_is_late_after_ten_seconds() -> None:
    assert reason(facts(due_since=NOW.subtract(seconds=10))) is None
    assert reason(facts(due_since=NOW.subtract(seconds=11))) is GateCode.DISPATCHER_LATE
    assert reason(facts(fails_until=NOW.add(seconds=1))) is GateCode.DISPATCH_FAILING


def test_without_redis_or_its_leases_no_slot_is_granted() -> None:
    assert reason(facts(usage=None)) is GateCode.REDIS_AWAY
    assert reason(facts(usage=SlotUsage(None))) is GateCode.REDIS_REBUILDING


def test_a_message_says_who_paused_the_batch_since_when_and_why() -> None:
    change = StatusChange(at=NOW.at(9, 30), by="ada", reason="complaints")
    explained = explain(facts(batch(status=BatchStatus.PAUSED), change=change), PENDING, NOW)
    assert explained.reason is not None
    message = message_of(explained.reason, "Europe/Berlin", NOW)
    assert message == "The batch is paused: since 10:30 Europe/Berlin; changed by ada; complaints"


def test_the_gates_of_shared_room_are_checked_last() -> None:
    """Counts by reason rely on it: whoever passes all other gates waits for room."""
    order = [code in ROOM for code in GateCode if code not in (GateCode.NO_WORKER, GateCode.IMPORT_RUNNING)]
    assert order == sorted(order)


LANES = st.sampled_from([Lane(), Lane(("Asia/Tokyo",)), Lane(("America/New_York",))])
CONTACTS = st.builds(
    ContactFacts,
    status=st.sampled_from([ContactStatus.PENDING] * 9 + list(ContactStatus)),
    outcome=st.sampled_from([None, *Outcome]),
    lane=LANES,
    due_at=st.sampled_from([NOW.subtract(hours=1), NOW.add(hours=1), NOW.add(hours=8)]),
    attempts=st.sampled_from([0, 0, 0, 1, 3]),
    expires_at=st.sampled_from([None, None, NOW, NOW.add(hours=2)]),
    is_suppressed=st.sampled_from([False, False, True]),
)


@given(
    st.lists(st.builds(ContactGroup, count=st.integers(1, 20), facts=CONTACTS), max_size=6),
    st.builds(
        batch,
        status=st.sampled_from([BatchStatus.ACTIVE] * 9 + list(BatchStatus)),
        window=st.sampled_from([NINE_TO_FIVE, CallingWindow("Asia/Tokyo", time(9), time(17))]),
        respect_contact_timezone=st.booleans(),
        dialing=st.integers(0, 12),
        max_calls_per_day=st.sampled_from([None, 1, 5]),
        retry=st.sampled_from([RetryRules(), RetryRules(enabled=True, max_attempts=2)]),
    ),
)
def test_counts_add_up_and_two_looks_give_one_answer(groups: list[ContactGroup], of: Batch) -> None:
    explained = explain_batch(facts(of), groups, NOW)
    assert explained.callable + sum(gone.count for gone in explained.reasons) == explained.total
    assert explained.total == sum(group.count for group in groups)
    assert explained == explain_batch(facts(of), groups, NOW)


@given(CONTACTS, st.booleans())
def test_at_the_next_moment_every_gate_of_the_contact_itself_passes(contact: ContactFacts, by_zone: bool) -> None:
    of = facts(batch(window=NINE_TO_FIVE, respect_contact_timezone=by_zone))
    explained = explain(of, contact, NOW)
    if explained.next_at is None:
        assert explained.verdict is not Verdict.CALLABLE
        return
    assert explained.next_at >= NOW
    assert explain(of, contact, explained.next_at).verdict is Verdict.CALLABLE
