"""The messages of the fake Asterisk about one call, in the order and with the fields that were recorded.

In: the legs of a call, and what has happened. Out: ARI's events.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.outcomes import Outcome

Event = dict[str, Any]

CAUSE_TEXTS = {
    0: "Unknown",
    1: "Unallocated (unassigned) number",
    16: "Normal Clearing",
    17: "User busy",
    19: "User alerting, no answer",
    21: "Call Rejected",
    34: "Circuit/channel congestion",
}
# Cause, dial status and SIP status of a call that the other side refuses.
REFUSED = {
    Outcome.BUSY: (17, "BUSY", 486),
    Outcome.REJECTED: (21, "NOANSWER", 603),
    Outcome.INVALID_NUMBER: (1, "NOANSWER", 404),
    Outcome.FAILED: (34, "CONGESTION", 503),
}
HUNG_UP_BY_ARI = 32
# The code that Asterisk itself sets after its ring timeout.
TIMED_OUT = 480


@dataclass(frozen=True)
class Leg:
    """One channel."""

    id: str
    name: str
    caller: str
    dialstring: str
    created_at: DateTime

    @property
    def is_local(self) -> bool:
        return self.name.startswith("Local/")

    def snapshot(self, state: str) -> Event:
        party = {"name": "", "number": self.caller}
        plan = {"context": "peer", "exten": "s", "priority": 1, "app_name": "AppDial2", "app_data": "(Outgoing Line)"}
        return {
            "id": self.id,
            "name": self.name,
            "state": state,
            "protocol_id": "" if self.is_local else f"{self.id}@sip",
            "caller": party,
            "connected": party,
            "accountcode": "",
            "dialplan": plan,
            "creationtime": moment(self.created_at),
            "language": "en",
        }


def moment(at: DateTime) -> str:
    return f"{at.in_timezone('UTC').strftime('%Y-%m-%dT%H:%M:%S')}.{at.microsecond // 1000:03}+0000"


def legs_of(call_id: str, endpoint: str, caller: str, nth: int, at: DateTime) -> list[Leg]:
    """Return the channel with the id, and the second leg of a Local channel."""
    technology, _, device = endpoint.partition("/")
    if technology == "Local":
        name = f"Local/{device.partition('/')[0]}-{nth:08x}"
        return [Leg(call_id + end, f"{name};{end[1:] or 1}", caller, device, at) for end in ("", ";2")]
    return [Leg(call_id, f"{technology}/{device.rpartition('@')[2]}-{nth:08x}", caller, device, at)]


def placed(legs: list[Leg], at: DateTime) -> Iterator[Event]:
    for leg in legs[1:]:
        yield _told("ChannelCallerId", leg, "Ring", at, caller_presentation=0)
        yield _told("ChannelConnectedLine", leg, "Ring", at)
    yield _dial(legs[0], "", "Down", at)


def step(legs: list[Leg], event: CallEvent, outcome: Outcome, *, app: str | None, detects: bool) -> Iterator[Event]:
    """Report that it rings, or that it was answered, and by a machine if machines are detected."""
    leg, at = legs[0], event.at
    if event.kind is EventKind.RINGING:
        yield _told("ChannelStateChange", leg, "Ringing", at)
        yield _dial(leg, "RINGING", "Ringing", at)
        return
    for other in legs[1:]:
        yield _told("ChannelStateChange", other, "Up", at)
    yield _told("ChannelStateChange", leg, "Up", at)
    yield _dial(leg, "ANSWER", "Up", at)
    if app:
        yield _told("ChannelVarset", leg, "Up", at, variable="STASISSTATUS", value="")
        yield _told("StasisStart", leg, "Up", at, args=[leg.id])
    if detects:
        status = "MACHINE" if outcome is Outcome.MACHINE else "HUMAN"
        yield _told("ChannelVarset", leg, "Up", at, variable="AMDSTATUS", value=status)


def ended(legs: list[Leg], event: CallEvent, states: set[EventKind], *, is_hung_up: bool) -> Iterator[Event]:
    leg, at = legs[0], event.at
    state = "Up" if EventKind.ANSWERED in states else "Ringing" if EventKind.RINGING in states else "Down"
    if is_hung_up:
        yield from _hung_up(legs, state, at)
    elif state == "Up":
        yield from _far_end_hung_up(legs, at)
    elif event.outcome in REFUSED:
        yield from _refused(legs, event.outcome, state, at)
    else:
        # Not answered within the ring timeout: it ends without a closing Dial event.
        for other in legs[1:]:
            yield _told("ChannelHangupRequest", other, "Ring", at, cause=19)
        yield _destroyed(leg, state, at, 19, **({} if leg.is_local else {"tech_cause": TIMED_OUT}))
        yield from (_destroyed(other, "Ring", at, 19) for other in legs[1:])


def _hung_up(legs: list[Leg], state: str, at: DateTime) -> Iterator[Event]:
    yield _told("ChannelHangupRequest", legs[0], state, at, cause=HUNG_UP_BY_ARI, soft=True)
    if state != "Up":
        yield _dial(legs[0], "NOANSWER", state, at)
    yield from (_told("ChannelHangupRequest", other, state, at, cause=16) for other in legs[1:])
    yield _destroyed(legs[0], state, at, 16)
    for other in legs[1:]:
        yield _told("ChannelHangupRequest", other, state, at, cause=16, soft=True)
        yield _destroyed(other, state, at, 16)


def _far_end_hung_up(legs: list[Leg], at: DateTime) -> Iterator[Event]:
    for other in legs[1:]:
        yield _told("ChannelHangupRequest", other, "Up", at, cause=16, soft=True)
        yield _destroyed(other, "Up", at, 16)
    if not legs[0].is_local:
        yield _told("ChannelVarset", legs[0], "Up", at, variable="RTPAUDIOQOS", value="ssrc=513654750;themssrc=0")
    yield _told("ChannelHangupRequest", legs[0], "Up", at)
    yield _destroyed(legs[0], "Up", at, 0)


def _refused(legs: list[Leg], outcome: Outcome, state: str, at: DateTime) -> Iterator[Event]:
    cause, status, sip = REFUSED[outcome]
    if not legs[0].is_local:
        yield _told("ChannelHangupRequest", legs[0], state, at, cause=cause, tech_cause=sip)
        yield _dial(legs[0], status, state, at)
        yield _destroyed(legs[0], state, at, cause, tech_cause=sip)
        return
    # The other leg has dialled a channel, which gets the SIP code; its cause is passed on.
    dialled = Leg(f"{at.timestamp():.0f}.7", "PJSIP/provider-00000007", legs[0].caller, "provider", at)
    caller = legs[1].snapshot("Ring")
    yield _dial(dialled, "", "Down", at) | {"caller": caller}
    yield _told("ChannelHangupRequest", dialled, "Down", at, cause=cause, tech_cause=sip)
    yield _dial(dialled, status, "Down", at) | {"caller": caller}
    yield _told("ChannelHangupRequest", legs[1], "Ring", at, cause=16, soft=True)
    yield _told("ChannelHangupRequest", legs[0], state, at, cause=cause)
    yield _dial(legs[0], status, state, at)
    yield _destroyed(legs[0], state, at, cause)
    yield _destroyed(legs[1], "Ring", at, cause)


def _dial(leg: Leg, status: str, state: str, at: DateTime) -> Event:
    event = _told("Dial", leg, state, at, dialstatus=status, forward="", dialstring=leg.dialstring)
    event["peer"] = event.pop("channel")
    return event


def _destroyed(leg: Leg, state: str, at: DateTime, cause: int, **fields: Any) -> Event:
    return _told("ChannelDestroyed", leg, state, at, cause=cause, cause_txt=CAUSE_TEXTS[cause], **fields)


def _told(kind: str, leg: Leg, state: str, at: DateTime, **fields: Any) -> Event:
    return {
        "type": kind,
        "timestamp": moment(at),
        **fields,
        "channel": leg.snapshot(state),
        "asterisk_id": "02:fc:00:00:00:01",
        "application": "dialer",
    }
