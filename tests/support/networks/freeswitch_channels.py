"""Channels of the fake FreeSWITCH and their events: the fields of a recorded call with new values.

In: what happened to a call and when. Out: the text of events. The recording is `tests/traces/freeswitch-esl.jsonl`,
made with FreeSWITCH 1.10.12.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote
from uuid import UUID

from pendulum import DateTime

from dialer.domain.call import CallEvent, EventKind
from dialer.domain.outcomes import Outcome

TRACES = Path(__file__).parents[2] / "traces" / "freeswitch-esl.jsonl"
MACHINE = "amd_result"

# Causes for which the simulated network and FreeSWITCH have different names.
CAUSES = {"originator_cancel": "NORMAL_CLEARING", "recovery_on_timer_expire": "PROGRESS_TIMEOUT"}
SIP = {"USER_BUSY": 486, "CALL_REJECTED": 603, "UNALLOCATED_NUMBER": 404, "NORMAL_TEMPORARY_FAILURE": 503}


@cache
def template(name: str) -> dict[str, object]:
    """The fields of a recorded event."""
    for line in TRACES.read_text().splitlines():
        message = json.loads(line)
        if message["scenario"] == "sofia-ok" and f"Event-Name: {name}\n" in message.get("body", ""):
            head = message["body"].partition("\n\n")[0]
            pairs = (line.split(": ", 1) for line in head.split("\n"))
            return {name: unquote(value) for name, value in pairs}
    raise LookupError(name)


def micros(at: DateTime) -> int:
    return round(at.timestamp() * 1_000_000)


@dataclass
class Channel:
    """One call. `other_leg`: the uuid of the second leg of a loopback, which has the same variables."""

    uuid: str
    attempt_id: UUID
    destination: str
    variables: dict[str, str]
    job: str
    arguments: str
    created: int
    other_leg: str | None = None
    progress: int = 0
    answered: int = 0
    hangup: int = 0
    is_job_told: bool = False
    is_killed: bool = False
    legs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.legs = [self.uuid] + ([self.other_leg] if self.other_leg else [])

    def take(self, event: CallEvent) -> None:
        """Set the time of what has happened. A late report of an earlier step changes only its own time."""
        at = micros(event.at)
        match event.kind:
            case EventKind.RINGING:
                self.progress = at
            case EventKind.ANSWERED:
                self.answered = at
            case EventKind.ENDED:
                self.hangup = at
                if event.outcome in (Outcome.ANSWERED, Outcome.MACHINE):
                    self.answered = at - round((event.talk_seconds or 0) * 1_000_000)

    def events(self, name: str, at: int, **more: object) -> list[str]:
        """The event of this name on each leg of the call."""
        return [self._event(name, leg, at, more) for leg in self.legs]

    def end(self, name: str, event: CallEvent) -> list[str]:
        """CHANNEL_HANGUP or CHANNEL_HANGUP_COMPLETE."""
        cause = cause_of(event)
        more: dict[str, object] = {"Hangup-Cause": cause}
        if name == "CHANNEL_HANGUP_COMPLETE":
            more |= {"variable_hangup_cause": cause, "variable_billmsec": round((event.talk_seconds or 0) * 1000)}
            more |= {"variable_billsec": round(event.talk_seconds or 0), "variable_answer_uepoch": self.answered}
        if event.outcome is Outcome.MACHINE:
            more[f"variable_{MACHINE}"] = "MACHINE"
        more["variable_sip_call_id"] = f"{self.uuid}@lab"
        if self.answered:
            more["variable_sip_hangup_disposition"] = "send_bye" if self.is_killed else "recv_bye"
        elif status := SIP.get(cause):
            more |= {"variable_sip_term_status": status, "variable_sip_invite_failure_status": status}
            more["variable_sip_hangup_disposition"] = "recv_refuse"
        else:
            # Sofia's own code after its CANCEL.
            more |= {"variable_sip_invite_failure_status": 487, "variable_sip_invite_failure_phrase": "CANCEL"}
            more["variable_sip_hangup_disposition"] = "send_cancel"
        return self.events(name, self.hangup, **more)

    def job_event(self, result: str, at: int) -> str:
        return job_event("originate", self.arguments, self.job, result, at)

    def dump(self) -> str:
        """Return the answer to `uuid_dump`."""
        state = "answered" if self.answered else "ringing"
        more = {"Event-Name": "CHANNEL_DATA", "Answer-State": state}
        return self._event("CHANNEL_ANSWER", self.uuid, self.created, more)

    def _event(self, name: str, leg: str, at: int, more: Mapping[str, object]) -> str:
        times = {"Created": self.created, "Progress": self.progress, "Answered": self.answered, "Hangup": self.hangup}
        known = template(name) | {"Event-Date-Timestamp": at, "Channel-Name": self.destination, "Unique-ID": leg}
        known |= {"variable_uuid": leg, "Caller-Unique-ID": leg, "Channel-Call-UUID": leg, "variable_call_uuid": leg}
        known |= {f"Caller-Channel-{step}-Time": value for step, value in times.items()}
        known |= {f"variable_{key}": value for key, value in self.variables.items()}
        return written(known | dict(more))


def job_event(command: str, arguments: str, job: str, result: str, at: int) -> str:
    """BACKGROUND_JOB."""
    known = template("BACKGROUND_JOB") | {"Event-Date-Timestamp": at, "Job-UUID": job, "Job-Command": command}
    return written(known | {"Job-Command-Arg": arguments, "Content-Length": len(result)}) + result


def cause_of(event: CallEvent) -> str:
    return CAUSES.get(str(event.cause), str(event.cause).upper())


def written(fields: Mapping[str, object]) -> str:
    lines = (f"{name}: {quote(str(value), safe='/,()')}\n" for name, value in fields.items() if value is not None)
    return "".join(lines) + "\n"
