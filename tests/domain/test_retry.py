"""What becomes of a contact: the whole table of outcomes and rules, and the promise that attempts are bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialer.domain.outcomes import CauseClass, Outcome
from dialer.domain.retry import DEFAULT_DELAY_MINUTES, RetryDecision, RetryRules, after_call, after_refusal
from dialer.domain.states import ContactStatus

DONE = RetryDecision(ContactStatus.COMPLETED)
LOST = RetryDecision(ContactStatus.FAILED)


def wait(minutes: float) -> RetryDecision:
    return RetryDecision(ContactStatus.WAITING, minutes * 60)


PLAIN = {outcome: DONE if outcome in ("answered", "machine") else LOST for outcome in Outcome}
RETRIED = PLAIN | {
    Outcome.BUSY: wait(10),
    Outcome.NO_ANSWER: wait(60),
    Outcome.FAILED: wait(5),
    Outcome.REJECTED: wait(60),
}
TABLE = [
    (RetryRules(), PLAIN),
    (RetryRules(enabled=True, max_attempts=0, machine=True), PLAIN),
    (RetryRules(enabled=False, max_attempts=3, machine=True), PLAIN),
    (RetryRules(enabled=True, max_attempts=2), RETRIED),
    (RetryRules(enabled=True, max_attempts=2, machine=True), RETRIED | {Outcome.MACHINE: wait(120)}),
]
RULES = st.builds(
    RetryRules,
    enabled=st.booleans(),
    max_attempts=st.integers(0, 3),
    machine=st.booleans(),
    delays=st.dictionaries(st.sampled_from(sorted(DEFAULT_DELAY_MINUTES)), st.integers(1, 10_080)),
)


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize(("rules", "expected"), TABLE)
def test_a_first_call_ends_as_the_table_says(
    rules: RetryRules, expected: dict[Outcome, RetryDecision], outcome: Outcome
) -> None:
    assert after_call(rules, outcome, attempts=1) == expected[outcome]


@pytest.mark.parametrize(("attempts", "decision"), [(1, wait(10)), (2, wait(10)), (3, LOST), (4, LOST)])
def test_the_first_attempt_is_no_retry(attempts: int, decision: RetryDecision) -> None:
    assert after_call(RetryRules(enabled=True, max_attempts=2), Outcome.BUSY, attempts) == decision


@pytest.mark.parametrize("outcome", DEFAULT_DELAY_MINUTES)
def test_a_delay_of_the_batch_goes_before_the_default_of_its_outcome_alone(outcome: Outcome) -> None:
    rules = RetryRules(enabled=True, max_attempts=1, machine=True, delays={outcome: 0.5})
    decisions = {each: after_call(rules, each, 1).delay_seconds for each in DEFAULT_DELAY_MINUTES}
    usual = {each: minutes * 60.0 for each, minutes in DEFAULT_DELAY_MINUTES.items()}
    assert decisions == usual | {outcome: 30.0}


@pytest.mark.parametrize("outcome", [Outcome.INVALID_NUMBER, Outcome.UNKNOWN, Outcome.CANCELLED, Outcome.ANSWERED])
def test_no_delay_makes_an_outcome_retryable_that_is_not(outcome: Outcome) -> None:
    rules = RetryRules(enabled=True, max_attempts=3, machine=True, delays={outcome: 1})
    assert after_call(rules, outcome, 1) == PLAIN[outcome]


@given(RULES, st.lists(st.sampled_from(Outcome), min_size=6, max_size=6))
def test_whatever_the_mix_of_outcomes_a_contact_gets_at_most_so_many_further_attempts(
    rules: RetryRules, outcomes: list[Outcome]
) -> None:
    attempts, decision = 0, wait(0)
    while decision.status is ContactStatus.WAITING:
        attempts += 1
        decision = after_call(rules, outcomes[attempts - 1], attempts)
        assert (decision.delay_seconds is not None) == (decision.status is ContactStatus.WAITING)
    assert attempts <= 1 + (rules.max_attempts if rules.enabled else 0)
    assert decision == PLAIN[outcomes[attempts - 1]]


@pytest.mark.parametrize("cause_class", [CauseClass.INFRASTRUCTURE, CauseClass.POLICY])
@pytest.mark.parametrize(
    ("refusals", "seconds"),
    [(1, 15), (2, 30), (3, 60), (4, 120), (5, 240), (6, 480), (7, 600), (8, 600), (10_000, 600)],
)
def test_an_innocent_contact_waits_twice_as_long_each_time_up_to_ten_minutes(
    cause_class: CauseClass, refusals: int, seconds: float
) -> None:
    assert after_refusal(cause_class, refusals) == RetryDecision(ContactStatus.WAITING, seconds)


@pytest.mark.parametrize("refusals", [1, 2, 10_000])
def test_a_contact_refused_because_of_the_rate_is_called_again_soon_however_often(refusals: int) -> None:
    assert after_refusal(CauseClass.RATE, refusals) == RetryDecision(ContactStatus.WAITING, 2)


def test_a_number_that_cannot_be_called_fails_its_contact_at_once() -> None:
    assert after_refusal(CauseClass.CONTACT, 1) == LOST
