"""What Twilio is asked for a call. In: the contract's request. Out: the fields of the form that asks for it."""

from typing import Any

from pendulum import DateTime

from dialer.providers.base import MARGIN_SECONDS, CallRequest
from dialer.providers.twilio.events import RING_WAS_CUT

EVENTS = ("initiated", "ringing", "answered", "completed")
MAX_RING_SECONDS = 600
# "For some call flows, we will add a 5-second buffer to the timeout value you provide."
RING_BUFFER_SECONDS = 5


def create_call(request: CallRequest, now: DateTime, callback_url: str) -> dict[str, Any] | None:
    """Return the fields; None where the agent's connection says nothing that Twilio could do with an answered call.

    Twilio tells machines from people before it asks the agent's URL (AsyncAmd stays off): so `AnsweredBy` is in that
    request, and in the last status callback.
    """
    target = {name.capitalize(): request.connection[name] for name in ("url", "twiml") if request.connection.get(name)}
    if not target:
        return None
    seconds, is_cut = _ring_seconds(request, now)
    detects = request.detect_machine or request.connection.get("machine_detection")
    return target | ({"MachineDetection": "Enable"} if detects else {}) | {
        "To": request.to_number,
        "From": request.from_number,
        "Timeout": seconds,
        "StatusCallback": f"{callback_url}?{RING_WAS_CUT}" if is_cut else callback_url,
        "StatusCallbackEvent": list(EVENTS),
        "StatusCallbackMethod": "POST",
    }  # fmt: skip


def _ring_seconds(request: CallRequest, now: DateTime) -> tuple[int, bool]:
    """Return how long it may ring, and whether that is less because the calling window ends.

    Twilio takes no deadline for ringing, and may let it ring some seconds longer than it was told.
    """
    seconds = min(request.ring_seconds(now), MAX_RING_SECONDS)
    if request.ring_by is None:
        return seconds, False
    left = max(1, int((request.ring_by - now).total_seconds() - MARGIN_SECONDS) - RING_BUFFER_SECONDS)
    return (left, True) if left < min(request.ring_timeout_seconds, MAX_RING_SECONDS) else (seconds, False)
