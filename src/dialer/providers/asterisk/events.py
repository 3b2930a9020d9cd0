"""Turns ARI's messages into call events: each message about one of our channels adds to its history.

In: WebSocket messages, from the beginning of a call or from its middle. Out: call events, the same event for the same
message. Of a Local channel's two legs, only the one with the attempt's id is followed; of the channel that the other
leg dials, only the SIP code and the Call-ID are used.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId
from dialer.domain.outcomes import Outcome
from dialer.providers.asterisk.causes import ChannelHistory, ended
from dialer.providers.asterisk.responses import RINGING, UP, parse_time

MACHINE = "MACHINE"
# The step of a call in which machine detection finds a machine; the others are the kinds of events.
MACHINE_DETECTED = "machine"
MOST_LIVE = 50_000
MOST_ENDED = 5_000
UUID_LENGTH = 36
SECOND_LEG = ";2"
# Early media (183) counts as ringing, as with the other providers.
KIND_OF_DIAL_STATUS = {"RINGING": EventKind.RINGING, "PROGRESS": EventKind.RINGING, "ANSWER": EventKind.ANSWERED}

AriMessage = Mapping[str, Any]
K = TypeVar("K")
V = TypeVar("V")


class Unreadable(Exception):
    """A message is not one of ARI's."""


class AriEventReader:
    """Reads messages with the histories of the calls they are about.

    Memory is bounded: the histories that were not used for longest are dropped first. Those of ended calls are kept for
    a while, because the last message of a call need not arrive last.
    """

    def __init__(
        self,
        machine_variable: str,
        clock: Callable[[], DateTime],
        *,
        most_live: int = MOST_LIVE,
        most_ended: int = MOST_ENDED,
    ) -> None:
        self._machine_variable = machine_variable
        self._clock = clock
        self._most_live = most_live
        self._most_ended = most_ended
        self._live: OrderedDict[AttemptId, ChannelHistory] = OrderedDict()
        self._ended: OrderedDict[AttemptId, ChannelHistory] = OrderedDict()
        # Channels dialled by the second legs of Local channels, and the attempt of each.
        self._dialled: OrderedDict[str, AttemptId] = OrderedDict()

    def read(self, text: bytes | str) -> Sequence[CallEvent]:
        """Return the events of this message that no other message has reported. Raises Unreadable."""
        message = _message(text)
        channel = message.get("peer") if message["type"] == "Dial" else message.get("channel")
        if channel is None:
            return ()
        if not isinstance(channel, dict) or not isinstance(channel.get("id"), str):
            raise Unreadable(f"the channel of a {message['type'][:40]} has no id")
        attempt_id = _attempt_id(channel["id"])
        if attempt_id is None:
            self._note_dialled(message, channel)
            return ()
        return self._follow(attempt_id, message, channel)

    def _note_dialled(self, message: AriMessage, channel: AriMessage) -> None:
        """Note the SIP code and Call-ID of the channel behind a Local channel, which has none itself."""
        match message:
            case {"type": "Dial", "dialstatus": "", "caller": {"id": str(caller)}} if caller.endswith(SECOND_LEG):
                attempt_id = _attempt_id(caller.removesuffix(SECOND_LEG))
                if attempt_id is not None:
                    self._dialled[channel["id"]] = attempt_id
                    _drop_oldest(self._dialled, self._most_live)
                    history = self._history(attempt_id)
                    history.leg_code, history.sip_call_id = None, _text(channel.get("protocol_id"))
            case {"type": "ChannelHangupRequest", "tech_cause": int(code)} if channel["id"] in self._dialled:
                self._history(self._dialled[channel["id"]]).leg_code = code
            case {"type": "ChannelDestroyed"}:
                self._dialled.pop(channel["id"], None)

    def _follow(self, attempt_id: AttemptId, message: AriMessage, channel: AriMessage) -> Sequence[CallEvent]:
        at = parse_time(message.get("timestamp")) or self._clock()
        history = self._history(attempt_id)
        history.sip_call_id = _text(channel.get("protocol_id")) or history.sip_call_id
        history.is_machine |= _is_machine(_variable(channel, self._machine_variable))
        step = self._note(history, message, str(channel.get("state")), at)
        if step is EventKind.ENDED:
            self._end(attempt_id, history)
        if step is None:
            return ()
        # Asterisk reports some facts, such as ringing, by two messages; the first counts. The same message, received
        # again, gives the same event.
        mark = (message["type"], message.get("timestamp"))
        first, event = history.reported.setdefault(step, (mark, _event(attempt_id, step, at, history, message)))
        return (event,) if first == mark else ()

    def _note(self, history: ChannelHistory, message: AriMessage, state: str, at: DateTime) -> str | None:
        """Add a message to the history; return the step of the call that it reports."""
        status = message.get("dialstatus")
        history.has_rung |= state in RINGING or status in ("RINGING", "PROGRESS")
        history.is_up |= state == UP or status == "ANSWER"
        match message:
            case {"type": "ChannelDestroyed"}:
                return EventKind.ENDED
            case {"type": "ChannelStateChange"} if state == UP:
                history.answered_at = history.answered_at or at
                return EventKind.ANSWERED
            case {"type": "ChannelStateChange"} if state in RINGING:
                return EventKind.RINGING
            case {"type": "Dial", "dialstatus": str()}:
                history.dial_status = status
                history.answered_at = history.answered_at or (at if status == "ANSWER" else None)
                return KIND_OF_DIAL_STATUS.get(str(status))
            case {"type": "ChannelVarset", "variable": self._machine_variable, "value": str(value)}:
                history.is_machine |= _is_machine(value)
                return MACHINE_DETECTED if _is_machine(value) else None
            case {"type": "ChannelHangupRequest", "soft": True}:
                history.is_cancelled = True
            case {"type": "ChannelHangupRequest"}:
                history.was_hung_up = not history.is_cancelled
        return None

    def _history(self, attempt_id: AttemptId) -> ChannelHistory:
        if attempt_id in self._ended:
            return self._ended[attempt_id]
        history = self._live.setdefault(attempt_id, ChannelHistory())
        self._live.move_to_end(attempt_id)
        _drop_oldest(self._live, self._most_live)
        return history

    def _end(self, attempt_id: AttemptId, history: ChannelHistory) -> None:
        self._live.pop(attempt_id, None)
        self._ended[attempt_id] = history
        _drop_oldest(self._ended, self._most_ended)


def _message(text: bytes | str) -> AriMessage:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("a message is not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Unreadable("a message is not an event of ARI")
    return message


def _attempt_id(channel_id: str) -> AttemptId | None:
    """Return the attempt of a channel; None: not ours. Asterisk's own ids are numbers; a second leg's ends in ;2."""
    if len(channel_id) != UUID_LENGTH:
        return None
    try:
        uuid = UUID(channel_id)
    except ValueError:
        return None
    return AttemptId(uuid) if str(uuid) == channel_id else None


def _event(attempt_id: AttemptId, step: str, at: DateTime, history: ChannelHistory, message: AriMessage) -> CallEvent:
    call_id = str(attempt_id)
    if step == MACHINE_DETECTED:
        # Reported at once: the listener that reports the end may have been started after this message.
        key = f"{attempt_id}:{step}"
        return CallEvent(key, attempt_id, EventKind.ANSWERED, at, Outcome.MACHINE, provider_call_id=call_id)
    kind = EventKind(step)
    if kind is not EventKind.ENDED:
        return CallEvent.of(attempt_id, kind, at, provider_call_id=call_id)
    outcome, cause, facts = ended(history, _number(message.get("cause")) or 0, _number(message.get("tech_cause")))
    talk = max(0.0, (at - history.answered_at).total_seconds()) if history.answered_at else None
    return CallEvent.of(
        attempt_id, kind, at, outcome=outcome, cause=cause, talk_seconds=talk, provider_call_id=call_id, facts=facts
    )


def _variable(channel: AriMessage, name: str) -> Any:
    """Return a variable that Asterisk adds to each channel because `channelvars` in ari.conf lists it."""
    variables = channel.get("channelvars")
    return variables.get(name) if isinstance(variables, dict) else None


def _is_machine(value: Any) -> bool:
    return isinstance(value, str) and value.upper() == MACHINE


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _drop_oldest(entries: OrderedDict[K, V], most: int) -> None:
    while len(entries) > most:
        entries.popitem(last=False)
