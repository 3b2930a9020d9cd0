"""Turns the events of channels and jobs into call events.

In: events, in any order. Out: call events, with the same key each time the same fact is reported. Channels that are not
ours give none: other legs of our calls, calls of other trunks and other programs, and calls that FreeSWITCH made under
another uuid than the one we gave.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from uuid import UUID

import pendulum
from pendulum import DateTime

from dialer.domain.call import CallEvent, CallFacts, EventKind
from dialer.domain.ids import AttemptId, TrunkId
from dialer.domain.outcomes import Outcome
from dialer.providers.freeswitch import causes
from dialer.providers.freeswitch.esl import SwitchEvent

Fields = Mapping[str, str]
Machine = tuple[str, str] | None

# Calls that one reader remembers. The facts of a forgotten call are reported again, with the same keys.
REMEMBERED = 100_000
LONGEST_REASON = 200

_EPOCH = pendulum.datetime(1970, 1, 1)
_FAILED = re.compile(r"-ERR ([A-Z0-9_]+)")
_KINDS = {
    "CHANNEL_PROGRESS": EventKind.RINGING,
    "CHANNEL_PROGRESS_MEDIA": EventKind.RINGING,
    "CHANNEL_ANSWER": EventKind.ANSWERED,
    "CHANNEL_HANGUP_COMPLETE": EventKind.ENDED,
}
EVENTS = f"CHANNEL_CREATE {' '.join(_KINDS)} BACKGROUND_JOB"


class Unreadable(Exception):
    """An event of one of our calls, or of a job, cannot be read; the text says why."""


class ChannelEventReader:
    """Reads the events of one connection for one trunk. `machine`: the field that shows a machine, and its value."""

    def __init__(self, trunk_id: TrunkId, machine: Machine) -> None:
        self._trunk_id = str(trunk_id)
        self._machine = machine
        self._known: OrderedDict[str, None] = OrderedDict()

    def read(self, event: SwitchEvent) -> list[CallEvent]:
        """Return the call events; raises Unreadable."""
        try:
            return self._job(event) if event.name == "BACKGROUND_JOB" else self._channel(event)
        except (ArithmeticError, LookupError, ValueError) as error:
            raise Unreadable(f"{event.name} ({error!r})"[:LONGEST_REASON]) from None

    def _channel(self, event: SwitchEvent) -> list[CallEvent]:
        fields = event.fields
        uuid = fields.get("variable_dialer_attempt_id")
        if (
            not uuid
            or fields["Unique-ID"] != uuid
            or fields.get("variable_dialer_trunk_id", self._trunk_id) != self._trunk_id
        ):
            return []
        is_first = self._note(uuid)
        if event.name not in _KINDS:
            return []
        if is_first:
            # Earlier events were missed while there was no connection. The channel's fields still have their times.
            history = history_of(fields, self._machine)
            if any(known.kind is _KINDS[event.name] for known in history):
                return history
        return [_MAKE[_KINDS[event.name]](fields, self._machine)]

    def _job(self, event: SwitchEvent) -> list[CallEvent]:
        """Report the end of a call whose originate has failed.

        If its channel is known, the channel's own end says more, before or after this. If it never had a channel,
        `place` has returned the refusal: reported as an end, it would cost the contact an attempt.
        """
        fields = event.fields
        uuid, arguments = fields.get("Job-UUID", ""), fields.get("Job-Command-Arg", "")
        is_ours = f"dialer_attempt_id={uuid}," in arguments and f"dialer_trunk_id={self._trunk_id}" in arguments
        failed = _FAILED.match(event.body)
        if fields.get("Job-Command") != "originate" or not is_ours or not failed or uuid in self._known:
            return []
        if causes.refusal(failed[1]) is not None:
            return []
        at = _moment(int(fields["Event-Date-Timestamp"]))
        outcome = causes.outcome(failed[1], {}, has_rung=False)
        facts = causes.facts(failed[1], {}, has_rung=False)
        return [_end(uuid, at, outcome, failed[1], 0.0, facts)]

    def _note(self, uuid: str) -> bool:
        """Remember that this call has a channel; return whether it was unknown."""
        is_new = uuid not in self._known
        self._known[uuid] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return is_new


def history_of(fields: Fields, machine: Machine) -> list[CallEvent]:
    """Return the events of a call so far, oldest first, from the times in its channel's fields."""
    times = {EventKind.RINGING: _rang(fields), EventKind.ANSWERED: _answered(fields), EventKind.ENDED: _ended(fields)}
    return [_MAKE[kind](fields, machine) for kind, at in times.items() if at]


def _ringing(fields: Fields, _: Machine) -> CallEvent:
    return _event(fields["Unique-ID"], EventKind.RINGING, _moment(_rang(fields) or _now(fields)))


def _answer(fields: Fields, _: Machine) -> CallEvent:
    return _event(fields["Unique-ID"], EventKind.ANSWERED, _moment(_answered(fields) or _now(fields)))


def _hangup(fields: Fields, machine: Machine) -> CallEvent:
    cause = fields.get("Hangup-Cause") or fields["variable_hangup_cause"]
    answered, ended, has_rung = _answered(fields), _ended(fields) or _now(fields), _rang(fields) > 0
    facts = causes.facts(cause, fields, has_rung=has_rung, was_answered=answered > 0)
    if not answered:
        outcome = causes.outcome(cause, fields, has_rung=has_rung)
        return _end(fields["Unique-ID"], _moment(ended), outcome, cause, 0.0, facts)
    is_machine = machine is not None and fields.get(machine[0]) == machine[1]
    outcome = Outcome.MACHINE if is_machine else Outcome.ANSWERED
    return _end(fields["Unique-ID"], _moment(ended), outcome, cause, max(0, ended - answered) / 1_000_000, facts)


_MAKE: Mapping[EventKind, Callable[[Fields, Machine], CallEvent]] = {
    EventKind.RINGING: _ringing,
    EventKind.ANSWERED: _answer,
    EventKind.ENDED: _hangup,
}


def _event(uuid: str, kind: EventKind, at: DateTime) -> CallEvent:
    return CallEvent.of(AttemptId(UUID(uuid)), kind, at, provider_call_id=uuid)


def _end(uuid: str, at: DateTime, outcome: Outcome, cause: str, talk_seconds: float, facts: CallFacts) -> CallEvent:
    return CallEvent.of(
        AttemptId(UUID(uuid)),
        EventKind.ENDED,
        at,
        outcome=outcome,
        cause=cause.lower(),
        talk_seconds=talk_seconds,
        provider_call_id=uuid,
        facts=facts,
    )


def _rang(fields: Fields) -> int:
    """When it began to ring, with or without early media; 0: not yet."""
    names = ("Caller-Channel-Progress-Time", "Caller-Channel-Progress-Media-Time")
    return min((at for at in (int(fields.get(name, 0)) for name in names) if at), default=0)


def _answered(fields: Fields) -> int:
    # A transfer starts a new caller profile; the variable covers the whole call.
    return int(fields.get("Caller-Channel-Answered-Time", 0)) or int(fields.get("variable_answer_uepoch", 0))


def _ended(fields: Fields) -> int:
    return int(fields.get("Caller-Channel-Hangup-Time", 0))


def _now(fields: Fields) -> int:
    return int(fields["Event-Date-Timestamp"])


def _moment(micros: int) -> DateTime:
    return _EPOCH.add(microseconds=micros)
