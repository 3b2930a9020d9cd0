"""The request to end a call, and which answers say that it is over."""

import json

from dialer.providers.base import CallHandle

# A call that never was, or that the platform no longer has, is over too.
NOT_THERE = frozenset({404, 410})


def encode_hang_up(call: CallHandle) -> bytes:
    found = {"attempt_id": str(call.attempt_id), "call_id": call.provider_call_id, "action": "hang_up"}
    return json.dumps(found, separators=(",", ":")).encode()


def is_hung_up(status: int) -> bool:
    return 200 <= status < 300 or status in NOT_THERE
