"""The benchmark's own judgement of what a network has recorded."""

from uuid import UUID

from benchmarks.faults import rung_by_mistake
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import Outcome
from dialer.providers.simulator.call import CarrierCall


def call(to_number: str, placed: int, ended: int, outcome: Outcome) -> CarrierCall:
    attempt_id = AttemptId(UUID(int=placed))
    return CarrierCall(
        attempt_id, f"call-{placed}", to_number, "+12025550191", placed, None, None, ended, outcome, "cause", None
    )


def test_a_retry_after_a_call_that_did_not_reach_the_person_is_no_mistake() -> None:
    assert rung_by_mistake([call("+1", 0, 5, Outcome.BUSY), call("+1", 6, 9, Outcome.ANSWERED)]) == 0


def test_a_call_after_an_answered_one_is_a_mistake() -> None:
    assert rung_by_mistake([call("+1", 0, 5, Outcome.ANSWERED), call("+1", 6, 9, Outcome.ANSWERED)]) == 1


def test_a_call_while_another_one_is_up_is_a_mistake() -> None:
    assert rung_by_mistake([call("+1", 6, 9, Outcome.BUSY), call("+1", 0, 7, Outcome.BUSY)]) == 1


def test_more_retries_than_the_batch_allows_are_one_mistake_for_each_person() -> None:
    often = [call(number, at, at + 1, Outcome.BUSY) for number in ("+1", "+2") for at in (0, 2, 4, 6)]
    assert rung_by_mistake([*often, call("+3", 0, 1, Outcome.BUSY)]) == 2
