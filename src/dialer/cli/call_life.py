"""The life of a call as text: its steps in the ledger, and what the network reported of them."""

from collections.abc import Iterator, Mapping
from typing import Any

STEPS = {"created_at": "reserved", "placed_at": "placed", "ringing_at": "ringing", "answered_at": "answered",
         "ended_at": "ended"}  # fmt: skip
FACTS = ("outcome", "cause", "talk_seconds", "sip_code", "q850_cause", "hung_up_by", "disposition", "opt_out",
         "callback_at", "callback_refused", "provider_call_id", "sip_call_id", "batch_id", "contact_id")  # fmt: skip


def life_of(call: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines: the call, each step with its time, each report with when it came, and what is known of it."""
    yield f"Call {call['id']} is {call['status']}"
    yield f"From {call['from_number']} to {call['to_number']}"
    yield ""
    reports: dict[str, Any] = {report["kind"]: report for report in call.get("reports", ())}
    for field, step in STEPS.items():
        if call[field]:
            yield f"  {_time(call[field])}  {step}{_reported(reports.pop(step, None))}"
    # A report that changed nothing has no step of its own.
    yield from (f"  {_time(report['at'])}  {kind}{_reported(report)}" for kind, report in reports.items())
    yield ""
    known = {name: call[name] for name in FACTS if call[name] is not None}
    width = max(map(len, known))
    yield from (f"  {name:{width}}  {value}" for name, value in known.items())


def _reported(report: Mapping[str, Any] | None) -> str:
    if report is None:
        return ""
    return f"  (reported {_time(report['received_at'])[11:]}, {report['verdict'] or 'not settled yet'})"


def _time(at: str) -> str:
    """Write a time of the API, which is in UTC, to the millisecond."""
    return f"{at[:10]} {at[11:23].rstrip('Z'):<12}"
