"""Reports in any order, repeated or lost: an attempt never goes back, and its end stands."""

from dataclasses import replace
from random import Random

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.call_progress import STATE_OF, CallProgress, Verdict, follow
from dialer.domain.ids import AttemptId, uuid7
from dialer.domain.outcomes import Outcome
from dialer.domain.states import ATTEMPT_TRANSITIONS, LIVE_ATTEMPT, AttemptState

T0 = pendulum.datetime(2026, 3, 2, 8)
ATTEMPT = AttemptId(uuid7(T0, Random(1)))


def event(kind: EventKind, seconds: float, outcome: Outcome | None = None, talk: float | None = None) -> CallEvent:
    at = T0.add(microseconds=round(seconds * 1e6))
    return CallEvent(f"{kind}:{seconds}", ATTEMPT, kind, at, outcome, talk_seconds=talk, provider_call_id="CA1")


RINGING = event(EventKind.RINGING, 1)
ANSWERED = event(EventKind.ANSWERED, 5)
ENDED = event(EventKind.ENDED, 65, Outcome.ANSWERED, talk=60)
UNANSWERED = event(EventKind.ENDED, 46, Outcome.NO_ANSWER, talk=0)
# Depth is how far a call has come; a state may only be followed by a deeper one.
DEPTH = {state: depth for depth, state in enumerate(("reserved", "unclear", "placed", "ringing", "answered", "ended"))}
OPEN_STATES = st.sampled_from(sorted(LIVE_ATTEMPT))
REPORTS = st.lists(
    st.builds(
        event,
        st.sampled_from([EventKind.RINGING, EventKind.ANSWERED]),
        st.integers(0, 100),
    )
    | st.builds(event, st.just(EventKind.ENDED), st.integers(0, 100), st.sampled_from(Outcome), st.just(7.0)),
    max_size=8,
)


@given(OPEN_STATES, REPORTS)
def test_no_order_of_reports_moves_an_attempt_back(state: AttemptState, reports: list[CallEvent]) -> None:
    progress = CallProgress(state)
    for report in reports:
        after, _ = follow(progress, [report])
        assert after.state is progress.state or after.state in ATTEMPT_TRANSITIONS[progress.state]
        assert DEPTH[after.state] >= DEPTH[progress.state]
        progress = after


@given(OPEN_STATES, REPORTS)
def test_the_first_end_wins_and_its_word_is_kept(state: AttemptState, reports: list[CallEvent]) -> None:
    progress, _ = follow(CallProgress(state), reports)
    ends = [report for report in reports if report.kind is EventKind.ENDED]
    if ends:
        kept = (progress.state, progress.outcome, progress.ended_at, progress.talk_seconds)
        assert kept == (AttemptState.ENDED, ends[0].outcome, ends[0].at, ends[0].talk_seconds)
    else:
        assert (progress.outcome, progress.ended_at) == (None, None)
        assert progress.state is max([state, *(STATE_OF[report.kind] for report in reports)], key=lambda of: DEPTH[of])


@given(OPEN_STATES, REPORTS)
def test_each_report_gets_one_verdict_and_one_is_applied_for_each_step(
    state: AttemptState, reports: list[CallEvent]
) -> None:
    progress, verdicts = follow(CallProgress(state), reports)
    assert len(verdicts) == len(reports)
    assert set(verdicts) <= {Verdict.APPLIED, Verdict.LATE}
    assert (Verdict.APPLIED in verdicts) == (progress.state is not state)
    assert verdicts.count(Verdict.APPLIED) <= 3


@given(OPEN_STATES, REPORTS)
def test_a_report_that_is_repeated_changes_nothing(state: AttemptState, reports: list[CallEvent]) -> None:
    progress, _ = follow(CallProgress(state), reports)
    again, verdicts = follow(progress, reports)
    assert again == progress
    assert verdicts == [Verdict.LATE] * len(reports)


@given(st.permutations([RINGING, ANSWERED, ENDED, ENDED, RINGING]))
def test_every_order_of_a_whole_call_comes_to_the_same_end(reports: list[CallEvent]) -> None:
    progress, verdicts = follow(CallProgress(AttemptState.PLACED), reports)
    assert (progress.state, progress.outcome, progress.ended_at) == (AttemptState.ENDED, Outcome.ANSWERED, ENDED.at)
    assert progress.answered_at == ANSWERED.at
    assert progress.provider_call_id == "CA1"
    assert verdicts[reports.index(ENDED)] is Verdict.APPLIED


@given(REPORTS)
def test_what_is_reported_about_a_refused_call_is_a_contradiction(reports: list[CallEvent]) -> None:
    refused = CallProgress(AttemptState.REFUSED, cause="busy trunk", ended_at=T0)
    assert follow(refused, reports) == (refused, [Verdict.CONTRADICTION] * len(reports))


def test_a_call_that_may_exist_turns_out_to_exist() -> None:
    progress, verdicts = follow(CallProgress(AttemptState.UNCLEAR), [RINGING])
    assert (progress.state, progress.ringing_at, verdicts) == (AttemptState.RINGING, RINGING.at, [Verdict.APPLIED])


@pytest.mark.parametrize(
    ("outcome", "talk", "answered_at"),
    [
        (Outcome.ANSWERED, 60, ANSWERED.at),
        (Outcome.MACHINE, 60, ANSWERED.at),
        (Outcome.FAILED, 60, ANSWERED.at),
        (Outcome.ANSWERED, 0, ENDED.at),
        (Outcome.ANSWERED, None, None),
        (Outcome.BUSY, None, None),
    ],
)
def test_the_end_tells_when_the_call_was_answered_if_the_report_of_it_was_lost(
    outcome: Outcome, talk: float | None, answered_at: DateTime | None
) -> None:
    progress, _ = follow(CallProgress(AttemptState.PLACED), [replace(ENDED, outcome=outcome, talk_seconds=talk)])
    assert progress.answered_at == answered_at


def test_a_report_of_the_answer_goes_before_what_the_length_of_the_talk_would_tell() -> None:
    progress, _ = follow(CallProgress(AttemptState.PLACED), [ANSWERED, replace(ENDED, talk_seconds=58)])
    assert (progress.answered_at, progress.talk_seconds) == (ANSWERED.at, 58)


def test_a_call_that_nobody_answered_was_never_answered_though_its_talk_is_reported_as_zero() -> None:
    progress, _ = follow(CallProgress(AttemptState.RINGING), [UNANSWERED])
    assert (progress.answered_at, progress.talk_seconds) == (None, 0)


@pytest.mark.parametrize("at", [pendulum.datetime(1, 1, 1), pendulum.datetime(9999, 12, 31, 23, 59, 59)])
def test_a_network_whose_clock_makes_no_sense_ends_its_calls_all_the_same(at: DateTime) -> None:
    progress, _ = follow(CallProgress(AttemptState.PLACED), [replace(ENDED, at=at)])
    assert (progress.outcome, progress.talk_seconds) == (Outcome.ANSWERED, 60)
    assert progress.answered_at is not None
    assert progress.answered_at.add(hours=4).subtract(hours=8) < progress.answered_at


def test_the_id_that_the_network_gave_first_is_kept() -> None:
    progress, _ = follow(CallProgress(AttemptState.PLACED, provider_call_id="CA0"), [RINGING])
    assert progress.provider_call_id == "CA0"
    assert progress.ringing_at == RINGING.at
