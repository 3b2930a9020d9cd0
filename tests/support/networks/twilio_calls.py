"""A simulated call in Twilio's words: the record of it, and the fields of its status callbacks.

The shapes are those of Twilio's OpenAPI description (2010-04-01) and of recorded callbacks. Times are whole seconds.
"""

import base64
import hmac
import math
from collections.abc import Mapping
from email.utils import format_datetime
from hashlib import md5, sha1
from typing import Any

from pendulum import DateTime

from dialer.domain.call import EventKind
from dialer.domain.outcomes import Outcome
from dialer.providers.simulator import CarrierCall
from dialer.providers.simulator.call import NOT_RUNG_IN_TIME

EVENT_NAMES = {EventKind.RINGING: "ringing", EventKind.ANSWERED: "answered", EventKind.ENDED: "completed"}
# The status of a call that is over, and the last answer of SIP.
FINAL = {
    Outcome.ANSWERED: ("completed", 200),
    Outcome.MACHINE: ("completed", 200),
    Outcome.BUSY: ("busy", 486),
    Outcome.NO_ANSWER: ("no-answer", 487),
    Outcome.REJECTED: ("busy", 603),
    Outcome.INVALID_NUMBER: ("failed", 404),
    Outcome.FAILED: ("failed", 503),
    Outcome.CANCELLED: ("canceled", 487),
}


def sid_of(name: str, kind: str = "CA") -> str:
    return f"{kind}{md5(name.encode(), usedforsecurity=False).hexdigest()}"


def final(call: CarrierCall) -> tuple[str, int]:
    # Twilio gives up when its Timeout is over, whether it has rung or not, and calls both the same.
    return ("no-answer", 487) if call.cause == NOT_RUNG_IN_TIME else FINAL[call.outcome]


def status(call: CarrierCall, now: DateTime) -> str:
    if call.ended_at <= now:
        return final(call)[0]
    if call.answered_at is not None and call.answered_at <= now:
        return "in-progress"
    return "ringing" if call.rang_at is not None and call.rang_at <= now else "queued"


def answered_by(call: CarrierCall) -> str:
    return "machine_start" if call.outcome is Outcome.MACHINE else "human"


def record(call: CarrierCall, account_sid: str, now: DateTime, *, detects: bool) -> dict[str, Any]:
    """The call as `GET …/Calls/{sid}.json` shows it."""
    known, sid = status(call, now), sid_of(call.call_id)
    uri = f"/2010-04-01/Accounts/{account_sid}/Calls/{sid}"
    is_over, talked = call.ended_at <= now, call.answered_at is not None
    begun = call.answered_at or call.rang_at
    return {
        "account_sid": account_sid,
        "answered_by": answered_by(call) if detects and talked and known in ("in-progress", "completed") else None,
        "api_version": "2010-04-01",
        "caller_name": "",
        "date_created": when(call.placed_at),
        "date_updated": when(call.ended_at if is_over else now),
        "direction": "outbound-api",
        "duration": str(whole(call.talk_seconds)) if is_over else None,
        "end_time": when(call.ended_at) if is_over else None,
        "forwarded_from": None,
        "from": call.from_number,
        "from_formatted": call.from_number,
        "group_sid": None,
        "parent_call_sid": None,
        "phone_number_sid": sid_of(call.from_number, "PN"),
        "price": None,
        "price_unit": "USD",
        "queue_time": "0",
        "sid": sid,
        "start_time": when(begun) if begun is not None and begun <= now else None,
        "status": known,
        "subresource_uris": {"events": f"{uri}/Events.json", "recordings": f"{uri}/Recordings.json"},
        "to": call.to_number,
        "to_formatted": call.to_number,
        "trunk_sid": None,
        "uri": f"{uri}.json",
    }


def callback(call: CarrierCall, account_sid: str, kind: EventKind | None, *, detects: bool) -> dict[str, str]:
    """The fields of the status callback on this step; None: the call was initiated."""
    steps = [None, *(step for step, _ in call.steps())]
    at = call.placed_at if kind is None else call.event(kind).at
    fields = {
        "AccountSid": account_sid,
        "ApiVersion": "2010-04-01",
        "CallSid": sid_of(call.call_id),
        "CallStatus": {None: "initiated", EventKind.RINGING: "ringing", EventKind.ANSWERED: "in-progress"}.get(
            kind, ""
        ),
        "CallbackSource": "call-progress-events",
        "Called": call.to_number,
        "CalledCity": "",
        "CalledCountry": "DE",
        "CalledState": "",
        "CalledZip": "",
        "Caller": call.from_number,
        "CallerCountry": "DE",
        "Direction": "outbound-api",
        "From": call.from_number,
        "FromCountry": "DE",
        "SequenceNumber": str(steps.index(kind)),
        "Timestamp": when(at),
        "To": call.to_number,
        "ToCountry": "DE",
    }
    return fields | _ending(call, detects=detects) if kind is EventKind.ENDED else fields


def signature(url: str, fields: Mapping[str, str], token: str) -> str:
    """Sign as https://www.twilio.com/docs/usage/security says."""
    signed = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.new(token.encode(), signed.encode(), sha1).digest()).decode()


def when(moment: DateTime) -> str:
    return format_datetime(moment.replace(microsecond=0))


def whole(seconds: float) -> int:
    return math.ceil(seconds)


def _ending(call: CarrierCall, *, detects: bool) -> dict[str, str]:
    known, sip = final(call)
    seconds = whole(call.talk_seconds)
    answered = {"AnsweredBy": answered_by(call)} if detects and call.answered_at is not None else {}
    return answered | {
        "CallStatus": known,
        "CallDuration": str(seconds),
        "Duration": str(math.ceil(seconds / 60)),
        "SipResponseCode": str(sip),
    }
