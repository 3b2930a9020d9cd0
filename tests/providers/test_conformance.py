"""The promises of the provider contract, tested on every provider: the rigs of `tests/support/rigs`.

A rig is a provider with its network. It is opened for a config, waits in real or virtual time, and knows which calls
really existed.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.outcomes import CauseClass, Outcome
from dialer.errors import Unavailable
from dialer.providers.base import (
    TOO_LATE,
    Absent,
    CallRequest,
    Candidates,
    ContactCard,
    LookupFailed,
    LookupResult,
    NotFoundNow,
    Placed,
    Refused,
    Seen,
    Unclear,
)
from dialer.providers.simulator.network import most_in_any_second
from support.networks.switch import wait_until
from support.provider_arguments import call_handle
from support.rigs import OpenRig, Rig, all_rigs
from support.rigs.slow import slow_door

CallRequests = Callable[..., CallRequest]

SECOND = {"mean": 1, "min": 1, "max": 1}
A_WHILE = {"speed": 5, "talk_seconds": {"mean": 10, "min": 10, "max": 10}}
LONG = {"mean": 5000, "min": 5000, "max": 5000}
ANSWERED = {"outcomes": {"answered": 1}, "setup_seconds": SECOND, "ring_seconds": SECOND, "talk_seconds": SECOND}
# The timeout of a provider whose network will not answer.
SOON = {"timeout_seconds": 1}
TALKS_LONG = {**ANSWERED, "talk_seconds": LONG}
STEPS = [EventKind.RINGING, EventKind.ANSWERED, EventKind.ENDED]

# Characters that a dialplan, an expression, a shell or a line protocol would evaluate.
MEANINGFUL = re.compile(r"""[$`{}\[\]()\\"'|;&<>^,*?!\x00-\x1f\x7f]""")
HOSTILE = [
    "${system(touch /tmp/x)}",
    "$${system(touch /tmp/x)}",
    "${${a}}",
    "$[1+1]",
    "@{api(system(x))}",
    "`reboot` $(reboot)",
    "\"quoted\" 'quoted'",
    "a,origination_uuid=b}sofia/evil/1 &system(reboot)",
    "a\n\napi fsctl shutdown\r\n\r\n",
    "^^:a:b",
    ":_:sofia/evil/1",
    "back\\slash\\n\\u0024{x}",
    "%24%7Bsystem x%7D",
    "a\x00b",
    "\U0001f600 \U00020000 \ud800",
    "\u2028\u202e\uff04\uff5bx\uff5d",
    "a|b;c&d>e<f",
    "x" * 100_000,
    "${" * 50_000,
]
HOSTILE_AGENTS: list[dict[str, Any]] = [
    *({"extension": text} for text in HOSTILE),
    {"extension": "s", "context": "default"},
    {"extension": "1000 XML default"},
    {"extension": "system:reboot inline"},
    {"extension": 1000},
    {"application": "system", "data": "touch /tmp/x"},
    {"application": "transfer", "data": "system:reboot inline"},
    {"application": "bridge", "data": "sofia/gateway/lab/+4930999"},
    {"application": "park", "data": "", "api_hangup_hook": "system reboot"},
    {"application": "park"},
    {"context": "agents", "exten": "s", "priority": 1},
    {"context": "default", "exten": "+4930999"},
    {"app": "any"},
    {"app": "any,${SHELL(reboot)}"},
]


def content(events: Sequence[CallEvent]) -> list[tuple[Any, ...]]:
    """The content of events without their times, which a look-up may not know."""
    return [(event.key, event.attempt_id, event.kind, event.outcome) for event in events]


async def looked_up(rig: Rig, request: CallRequest) -> LookupResult:
    """Look up a call. If the network finds calls by their numbers only, take the only one, as the engine does when it
    knows no other attempt between these numbers.
    """
    sighting = await rig.provider.look_up(call_handle(request))
    if isinstance(sighting, Candidates):
        (sighting,) = sighting.calls
    return sighting


async def over(rig: Rig, request: CallRequest) -> None:
    """Look up an ended call: the network returns all its events, with the keys of its reports, or keeps no records."""
    seen = await looked_up(rig, request)
    if not rig.keeps_records:
        assert seen == NotFoundNow()
        return
    assert isinstance(seen, Seen)
    assert content(seen.events) == content(rig.received)


def never_was(rig: Rig, sighting: LookupResult) -> bool:
    return sighting == (Absent() if rig.keeps_records else NotFoundNow())


@pytest.fixture(params=all_rigs(), ids=lambda rig: rig.__name__)
def open_rig(request: pytest.FixtureRequest) -> OpenRig:
    """Open a provider with a network that behaves as the config says: `async with open_rig(config) as rig`."""
    opener: OpenRig = request.param
    return opener


async def test_a_network_that_works_is_healthy(open_rig: OpenRig) -> None:
    async with open_rig(ANSWERED) as rig:
        assert await rig.provider.health() is None


async def test_a_placed_call_is_reported_to_its_end(open_rig: OpenRig, call_request: CallRequests) -> None:
    async with open_rig(ANSWERED) as rig:
        request = call_request(rig.now())
        placed = await rig.provider.place(request)
        assert isinstance(placed, Placed)
        await rig.until(lambda: len(rig.received) == 3)
        assert [event.kind for event in rig.received] == STEPS
        assert {event.attempt_id for event in rig.received} == {request.attempt_id}
        assert {event.provider_call_id for event in rig.received} == {placed.provider_call_id}
        assert len({event.key for event in rig.received}) == 3
        assert rig.received[-1].outcome is Outcome.ANSWERED
        assert rig.received[-1].talk_seconds is not None


async def test_many_calls_are_placed_at_once_each_once(open_rig: OpenRig, call_request: CallRequests) -> None:
    async with open_rig(ANSWERED) as rig:
        requests = [call_request(rig.now()) for _ in range(100)]
        answers = await asyncio.gather(*(rig.provider.place(request) for request in requests))
        assert {type(answer) for answer in answers} == {Placed}
        assert sorted(rig.existed()) == sorted(request.attempt_id for request in requests)
        await rig.until(lambda: len(rig.received) == 300)


@pytest.mark.parametrize("fault", ["refused", "server_error"])
async def test_a_refused_call_does_not_exist(open_rig: OpenRig, call_request: CallRequests, fault: str) -> None:
    async with open_rig({**ANSWERED, "faults": {fault: 1}}) as rig:
        request = call_request(rig.now())
        answer = await rig.provider.place(request)
        assert isinstance(answer, Refused)
        assert answer.cause_class is CauseClass.INFRASTRUCTURE
        assert never_was(rig, await rig.provider.look_up(call_handle(request)))
        assert not rig.existed()


async def test_a_refusal_because_of_the_rate_is_no_failure(open_rig: OpenRig, call_request: CallRequests) -> None:
    async with open_rig({**ANSWERED, "calls_per_second": 1}) as rig:
        if not rig.tells_rate:
            pytest.skip("this network has no word for its rate")
        answers = await asyncio.gather(*(rig.provider.place(call_request(rig.now())) for _ in range(20)))
        refused = [answer for answer in answers if isinstance(answer, Refused)]
        assert {answer.cause_class for answer in refused} == {CauseClass.RATE}
        assert all(answer.retry_after_seconds is None or 0 < answer.retry_after_seconds <= 1 for answer in refused)
        assert len(rig.existed()) == 20 - len(refused)
        assert most_in_any_second(rig.started()) == 1


async def test_a_request_past_its_place_by_is_refused(open_rig: OpenRig, call_request: CallRequests) -> None:
    """By the network if it knows the deadline; otherwise the provider does not send the request."""
    async with open_rig(ANSWERED) as rig:
        assert await rig.provider.place(call_request(rig.now(), place_by=rig.now().subtract(seconds=1))) == TOO_LATE
        assert not rig.existed()


@pytest.mark.parametrize("deadline", ["place_by", "ring_by"])
async def test_a_request_whose_connection_was_made_too_slowly_does_not_leave(
    open_rig: OpenRig, call_request: CallRequests, deadline: str
) -> None:
    async with open_rig(ANSWERED) as rig:
        if rig.port is None:
            pytest.skip("this network needs no connection")
        async with slow_door(rig.port) as door:
            provider = rig.connect(door.port)
            ends_at = rig.now().add(seconds=0.8)
            request = call_request(rig.now(), **{deadline: ends_at})
            placing = asyncio.create_task(provider.place(request))
            await wait_until(lambda: rig.now() >= ends_at)
            await door.open()
            assert await placing == TOO_LATE
            await provider.close()
            assert request.to_number.encode()[1:] not in door.passed
            assert not rig.existed()


async def test_a_call_that_cannot_ring_in_time_never_rings(open_rig: OpenRig, call_request: CallRequests) -> None:
    async with open_rig({**ANSWERED, "setup_seconds": LONG}) as rig:
        # A busy machine may need longer than the first for the request to leave.
        for seconds in (3, 10):
            ring_by = rig.now().add(seconds=seconds)
            placed = await rig.provider.place(call_request(rig.now(), ring_by=ring_by))
            if placed != TOO_LATE:
                break
        assert isinstance(placed, Placed)
        await rig.until(lambda: len(rig.received) > 0)
        assert [(event.kind, event.outcome) for event in rig.received] == [(EventKind.ENDED, Outcome.NO_ANSWER)]


async def test_an_unclear_call_that_never_arrived_is_absent(open_rig: OpenRig, call_request: CallRequests) -> None:
    async with open_rig({**ANSWERED, **SOON, "faults": {"timeout_before": 1}}) as rig:
        request = call_request(rig.now())
        assert isinstance(await rig.provider.place(request), Unclear)
        assert never_was(rig, await rig.provider.look_up(call_handle(request)))


async def test_an_unclear_call_that_did_arrive_is_seen_and_reported(
    open_rig: OpenRig, call_request: CallRequests
) -> None:
    # It must be up when it is looked up: a network without records has no ended calls.
    async with open_rig({**ANSWERED, **A_WHILE, **SOON, "faults": {"timeout_after": 1}}) as rig:
        request = call_request(rig.now())
        assert isinstance(await rig.provider.place(request), Unclear)
        assert isinstance(await looked_up(rig, request), Seen)
        await rig.until(lambda: len(rig.received) == 3)
        assert rig.existed() == [request.attempt_id]


async def test_a_call_that_is_up_is_seen_as_far_as_it_has_come(open_rig: OpenRig, call_request: CallRequests) -> None:
    async with open_rig(TALKS_LONG) as rig:
        request = call_request(rig.now())
        placed = await rig.provider.place(request)
        assert isinstance(placed, Placed)
        await rig.until(lambda: len(rig.received) == 2)
        seen = await looked_up(rig, request)
        assert isinstance(seen, Seen)
        assert seen.provider_call_id == placed.provider_call_id
        assert content(seen.events) == content(rig.received)


async def test_a_call_that_has_ended_is_seen_to_its_end_with_the_keys_of_its_reports(
    open_rig: OpenRig, call_request: CallRequests
) -> None:
    async with open_rig(ANSWERED) as rig:
        request = call_request(rig.now())
        await rig.provider.place(request)
        await rig.until(lambda: len(rig.received) == 3)
        await over(rig, request)


async def test_a_call_that_was_never_placed_is_absent(open_rig: OpenRig, call_request: CallRequests) -> None:
    async with open_rig(ANSWERED) as rig:
        assert never_was(rig, await rig.provider.look_up(call_handle(call_request(rig.now()))))


async def test_a_call_that_is_hung_up_twice_ends_once(open_rig: OpenRig, call_request: CallRequests) -> None:
    async with open_rig(TALKS_LONG) as rig:
        request = call_request(rig.now())
        placed = await rig.provider.place(request)
        assert isinstance(placed, Placed)
        await rig.until(lambda: len(rig.received) == 2)
        await rig.provider.hang_up(call_handle(request, placed.provider_call_id))
        await rig.provider.hang_up(call_handle(request, placed.provider_call_id))
        await rig.until(lambda: len(rig.received) == 3)
        assert (rig.received[-1].kind, rig.received[-1].outcome) == (EventKind.ENDED, Outcome.ANSWERED)
        await over(rig, request)


async def test_hanging_up_what_does_not_exist_is_no_error(open_rig: OpenRig, call_request: CallRequests) -> None:
    async with open_rig(ANSWERED) as rig:
        request = call_request(rig.now())
        await rig.provider.hang_up(call_handle(request))
        assert never_was(rig, await rig.provider.look_up(call_handle(request)))


async def test_a_repeated_report_is_the_same_report(open_rig: OpenRig, call_request: CallRequests) -> None:
    async with open_rig({**ANSWERED, "faults": {"repeated": 1}}) as rig:
        await rig.provider.place(call_request(rig.now()))
        await rig.until(lambda: len(rig.received) == 6)
        assert set(Counter(rig.received).values()) == {2}
        assert len({event.key for event in rig.received}) == 3


async def test_reordered_reports_tell_the_true_times(open_rig: OpenRig, call_request: CallRequests) -> None:
    async with open_rig({**ANSWERED, "faults": {"reordered": 1}}) as rig:
        await rig.provider.place(call_request(rig.now()))
        await rig.until(lambda: len(rig.received) == 3)
        assert [event.kind for event in rig.received] == STEPS[::-1]
        assert [event.kind for event in sorted(rig.received, key=lambda event: event.at)] == STEPS


@pytest.mark.parametrize(
    "outcome", ["answered", "machine", "busy", "no_answer", "rejected", "invalid_number", "failed"]
)
async def test_every_way_in_which_a_call_ends_is_told(
    open_rig: OpenRig, call_request: CallRequests, outcome: str
) -> None:
    async with open_rig({**ANSWERED, "outcomes": {outcome: 1}}) as rig:
        request = call_request(rig.now(), detect_machine=True)
        answer = await rig.provider.place(request)
        if isinstance(answer, Refused):
            # Some networks know at once that a number does not exist.
            assert (outcome, answer.cause_class) == ("invalid_number", CauseClass.CONTACT)
            return
        await rig.until(lambda: rig.received[-1:] != [] and rig.received[-1].kind is EventKind.ENDED)
        last = rig.received[-1]
        assert (last.outcome, last.attempt_id) == (Outcome(outcome), request.attempt_id)
        assert last.cause
        was_answered = EventKind.ANSWERED in {event.kind for event in rig.received}
        assert was_answered == (outcome in ("answered", "machine"))


async def test_whatever_a_contact_is_called_reaches_the_network_as_text(
    open_rig: OpenRig, call_request: CallRequests
) -> None:
    async with open_rig(TALKS_LONG) as rig:
        for text in HOSTILE:
            contact = ContactCard(text, text, {text: text, "note": text, "deep": {text: [text]}})
            request = replace(call_request(rig.now()), contact=contact)
            assert isinstance(await rig.provider.place(request), Placed), text
            assert (rig.existed()[-1], rig.called()[-1]) == (request.attempt_id, request.to_number)
            assert not [text for text in rig.evaluated() if MEANINGFUL.search(text)]
        assert len(rig.existed()) == len(HOSTILE)


@pytest.mark.parametrize("field", ["to_number", "from_number"])
async def test_what_is_no_number_calls_nobody_on_a_switch(
    open_rig: OpenRig, call_request: CallRequests, field: str
) -> None:
    async with open_rig(TALKS_LONG) as rig:
        if not rig.is_switch:
            pytest.skip("this network reads numbers itself")
        for number in (*HOSTILE, *(f"+4930123{text}" for text in HOSTILE)):
            request: CallRequest = replace(call_request(rig.now()), **{field: number})  # type: ignore[arg-type]
            assert isinstance(await rig.provider.place(request), Refused), number
        assert not rig.existed()
        assert not rig.evaluated()


async def test_an_agent_names_nothing_on_a_switch_but_a_plain_extension(
    open_rig: OpenRig, call_request: CallRequests
) -> None:
    async with open_rig(TALKS_LONG) as rig:
        if not rig.is_switch:
            pytest.skip("answered calls do not go to a switch")
        for connection in HOSTILE_AGENTS:
            request = replace(call_request(rig.now()), connection=connection)
            assert await rig.provider.place(request) == Refused("agent_not_permitted", CauseClass.AGENT), connection
        assert not rig.existed()
        assert not rig.evaluated()


async def test_an_answer_that_breaks_off_leaves_it_unclear_and_the_call_is_made_once(
    open_rig: OpenRig, call_request: CallRequests
) -> None:
    async with open_rig(TALKS_LONG) as rig:
        if not rig.cut_next_answer():
            pytest.skip("this network cannot cut a response")
        request = call_request(rig.now())
        assert isinstance(await rig.provider.place(request), Unclear)
        assert rig.existed() == [request.attempt_id]
        seen = await looked_up(rig, request)
        assert isinstance(seen, Seen)


async def test_a_network_that_is_not_there_refuses_and_says_why(open_rig: OpenRig, call_request: CallRequests) -> None:
    async with open_rig(ANSWERED) as rig:
        if not await rig.go_away():
            pytest.skip("this network cannot stop listening")
        reason = await rig.provider.health()
        assert reason
        answer = await rig.provider.place(call_request(rig.now()))
        assert isinstance(answer, Refused)
        assert answer.cause_class is CauseClass.INFRASTRUCTURE
        assert isinstance(await rig.provider.look_up(call_handle(call_request(rig.now()))), LookupFailed)
        with pytest.raises(Unavailable):
            await rig.provider.hang_up(call_handle(call_request(rig.now())))
        assert not any(secret in f"{reason} {answer}" for secret in rig.secrets)


async def test_no_secret_is_seen_in_what_is_logged_or_raised(
    open_rig: OpenRig, call_request: CallRequests, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    async with open_rig(TALKS_LONG) as rig:
        request = call_request(rig.now())
        placed = await rig.provider.place(request)
        assert isinstance(placed, Placed)
        await rig.until(lambda: len(rig.received) == 2)
        await rig.provider.look_up(call_handle(request))
        await rig.provider.hang_up(call_handle(request, placed.provider_call_id))
        await rig.provider.health()
        written = "".join([caplog.text, *capsys.readouterr(), repr(rig.provider)])
        assert not any(secret in written for secret in rig.secrets)
