"""Reads ARI's events: each message about one of our channels adds to what was heard of its call.

In: WebSocket messages, from the beginning of a call or from its middle. Out: call events, the same for the same
message. A Local channel has two legs; only the one that bears the attempt's id is followed, and of the channel that its
other leg dials what the network said.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.ids import AttemptId
from dialer.providers.asterisk.causes import Heard, ended
from dialer.providers.asterisk.moments import moment
from dialer.providers.asterisk.responses import RINGING, UP, event_key

MACHINE = "MACHINE"
MOST_LIVE = 50_000
MOST_ENDED = 5_000
UUID_LENGTH = 36
SECOND_LEG = ";2"
# Early media (183) counts as ringing, as it does with the other networks.
KIND_OF_DIAL_STATUS = {"RINGING": EventKind.RINGING, "PROGRESS": EventKind.RINGING, "ANSWER": EventKind.ANSWERED}

Message = Mapping[str, Any]
K = TypeVar("K")
V = TypeVar("V")


class Unreadable(Exception):
    """A message is not what ARI says."""


class Calls:
    """The calls that one listener hears of, bounded: the least lately heard of are forgotten first.

    Those that are over are remembered for a while: the last message of a call need not come last.
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
        self._live: OrderedDict[AttemptId, Heard] = OrderedDict()
        self._ended: OrderedDict[AttemptId, Heard] = OrderedDict()
        # Channels that the second legs of Local channels have dialled, and whose call each is.
        self._dialled: OrderedDict[str, AttemptId] = OrderedDict()

    def read(self, frame: bytes | str) -> Sequence[CallEvent]:
        """Return what this message tells that was not told before. Raises Unreadable."""
        message = _message(frame)
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

    def _note_dialled(self, message: Message, channel: Message) -> None:
        """Note what the network says to the channel behind a Local one: the Local one itself has no SIP code."""
        match message:
            case {"type": "Dial", "dialstatus": "", "caller": {"id": str(caller)}} if caller.endswith(SECOND_LEG):
                attempt_id = _attempt_id(caller.removesuffix(SECOND_LEG))
                if attempt_id is not None:
                    self._dialled[channel["id"]] = attempt_id
                    _forget(self._dialled, self._most_live)
                    heard = self._heard(attempt_id)
                    heard.leg_code, heard.sip_call_id = None, _text(channel.get("protocol_id"))
            case {"type": "ChannelHangupRequest", "tech_cause": int(code)} if channel["id"] in self._dialled:
                self._heard(self._dialled[channel["id"]]).leg_code = code
            case {"type": "ChannelDestroyed"}:
                self._dialled.pop(channel["id"], None)

    def _follow(self, attempt_id: AttemptId, message: Message, channel: Message) -> Sequence[CallEvent]:
        at = moment(message.get("timestamp")) or self._clock()
        heard = self._heard(attempt_id)
        heard.sip_call_id = _text(channel.get("protocol_id")) or heard.sip_call_id
        kind = self._note(heard, message, str(channel.get("state")), at)
        if kind is EventKind.ENDED:
            self._end(attempt_id, heard)
        if kind is None:
            return ()
        # Asterisk says some things in two ways, as it does that a channel rings: told is the first. The same message
        # tells the same again.
        mark = (message["type"], message.get("timestamp"))
        first, event = heard.told.setdefault(kind, (mark, _event(attempt_id, kind, at, heard, message)))
        return (event,) if first == mark else ()

    def _note(self, heard: Heard, message: Message, state: str, at: DateTime) -> EventKind | None:
        """Add a message to what was heard; return what it tells."""
        status = message.get("dialstatus")
        heard.has_rung |= state in RINGING or status in ("RINGING", "PROGRESS")
        heard.is_up |= state == UP or status == "ANSWER"
        match message:
            case {"type": "ChannelDestroyed"}:
                return EventKind.ENDED
            case {"type": "ChannelStateChange"} if state == UP:
                heard.answered_at = heard.answered_at or at
                return EventKind.ANSWERED
            case {"type": "ChannelStateChange"} if state in RINGING:
                return EventKind.RINGING
            case {"type": "Dial", "dialstatus": str()}:
                heard.dial_status = status
                heard.answered_at = heard.answered_at or (at if status == "ANSWER" else None)
                return KIND_OF_DIAL_STATUS.get(str(status))
            case {"type": "ChannelVarset", "variable": self._machine_variable, "value": str(value)}:
                heard.is_machine |= value.upper() == MACHINE
            case {"type": "ChannelHangupRequest", "soft": True}:
                heard.is_cancelled = True
            case {"type": "ChannelHangupRequest"}:
                heard.was_hung_up = not heard.is_cancelled
        return None

    def _heard(self, attempt_id: AttemptId) -> Heard:
        if attempt_id in self._ended:
            return self._ended[attempt_id]
        heard = self._live.setdefault(attempt_id, Heard())
        self._live.move_to_end(attempt_id)
        _forget(self._live, self._most_live)
        return heard

    def _end(self, attempt_id: AttemptId, heard: Heard) -> None:
        self._live.pop(attempt_id, None)
        self._ended[attempt_id] = heard
        _forget(self._ended, self._most_ended)


def _message(frame: bytes | str) -> Message:
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        raise Unreadable("a message is not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Unreadable("a message is not an event of ARI")
    return message


def _attempt_id(channel_id: str) -> AttemptId | None:
    """Return whose call a channel is; None: not ours. Asterisk's own ids are numbers, and a second leg ends in ;2."""
    if len(channel_id) != UUID_LENGTH:
        return None
    try:
        found = UUID(channel_id)
    except ValueError:
        return None
    return AttemptId(found) if str(found) == channel_id else None


def _event(attempt_id: AttemptId, kind: EventKind, at: DateTime, heard: Heard, message: Message) -> CallEvent:
    key, call_id = event_key(attempt_id, kind), str(attempt_id)
    if kind is not EventKind.ENDED:
        return CallEvent(key, attempt_id, kind, at, provider_call_id=call_id)
    how, cause, facts = ended(heard, _number(message.get("cause")) or 0, _number(message.get("tech_cause")))
    talk = max(0.0, (at - heard.answered_at).total_seconds()) if heard.answered_at else None
    return CallEvent(key, attempt_id, kind, at, how, cause, talk, call_id, facts)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _forget(calls: OrderedDict[K, V], most: int) -> None:
    while len(calls) > most:
        calls.popitem(last=False)
