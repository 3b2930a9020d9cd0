"""The response models of batches, and those that several resources share.

Class names here are component names of the OpenAPI document, which is a public contract.
"""

from datetime import date, datetime, time
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, PlainSerializer

from dialer.domain.call import EventKind, HungUpBy
from dialer.domain.change_origin import ChangeSource
from dialer.domain.contact import WaitsFor
from dialer.domain.outcomes import Outcome
from dialer.domain.rotation_strategy import RotationStrategy
from dialer.domain.states import AttemptState, BatchStatus, ContactStatus
from dialer.service.fields import Holidays, PersonLimit

ClockTime = Annotated[time, PlainSerializer(lambda at: at.strftime("%H:%M"), return_type=str)]


class Counts(BaseModel):
    """The contacts by status; they add up to `total`."""

    total: int
    pending: int
    waiting: int
    dialing: int
    completed: int
    failed: int
    skipped: int
    cancelled: int


class Calls(BaseModel):
    """`today`: attempts that count toward the daily cap, on the current day in the batch's time zone."""

    in_progress: int
    today: int
    attempts: int


class BatchCall(BaseModel):
    """A batch. `is_finishing`: it is over or has expired, and its contacts that are still pending or waiting are being
    ended; none of them is called.
    """

    id: UUID
    name: str
    agent_id: UUID
    phone_number_ids: list[UUID]
    phone_rotation_strategy: RotationStrategy
    contact_source: str
    contact_folder_id: UUID | None
    schedule_type: str
    scheduled_at: datetime | None
    timezone: str
    start_time: ClockTime | None
    end_time: ClockTime | None
    working_days: list[int]
    excluded_dates: list[date]
    max_concurrent_calls: int
    max_calls_per_day: int | None
    ring_timeout_seconds: int | None
    max_call_seconds: int | None
    retry_failed: bool
    max_retry_attempts: int
    retry_delays: dict[Outcome, float]
    retry_machine: bool
    respect_contact_timezone: bool
    sticky_caller_id: bool
    expires_at: datetime | None
    priority: int
    default_region: str | None
    metadata: dict[str, Any]
    labels: list[str]
    person_limits: list[PersonLimit]
    calling_hours: dict[str, list[list[str]]] | None
    holidays: Holidays | None
    status: BatchStatus
    status_reason: str | None
    held_by: str | None
    counts: Counts
    is_finishing: bool
    calls: Calls
    next_dispatch_at: datetime | None
    drained_at: datetime | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


class SettingsImpact(BaseModel):
    """How many contacts a change would concern now, whatever the status of the batch.

    `gain`: they can be called now, and could not. `lose`: they could be called now and cannot any more, or wait for a
    retry that is withdrawn. `moved`: they wait for a retry whose due time moves.
    """

    gain: int
    lose: int
    moved: int


class PlannedChange(BaseModel):
    """What a change of settings would do. `changes`: field -> its value now, and its new value.

    `if_match`: sent with the change, it refuses the change if the batch has changed meanwhile.
    """

    changes: dict[str, list[Any]]
    impact: SettingsImpact
    if_match: str


class Change(BaseModel):
    """A change of a batch: of its `status`, or of its `settings`, which makes a version.

    `changes`: field -> its old and its new value; empty for the first version. `by`: the name of the key, or of the
    database role. `source`: null where it was not recorded yet.
    """

    id: int
    at: datetime
    kind: Literal["status", "settings"]
    from_status: BatchStatus | None
    to_status: BatchStatus | None
    version: int | None
    changes: dict[str, list[Any]]
    by: str
    key_id: UUID | None
    source: ChangeSource | None
    reason: str | None


class Call(BaseModel):
    """One attempt. `local_on`: the day that it counts toward, in the batch's time zone. `status` refused: no call was
    made.

    `sip_code`, `q850_cause` (ITU-T Q.850), `sip_call_id`, `hung_up_by`: what the network reported about the end.
    `disposition`, `opt_out`: what the agent reported. `callback_at`: when the person asked to be called again;
    `callback_refused`: why they are not.
    """

    id: UUID
    batch_id: UUID
    contact_id: UUID
    phone_number_id: UUID
    to_number: str
    from_number: str
    status: AttemptState
    outcome: Outcome | None
    cause: str | None
    provider_call_id: str | None
    local_on: date
    created_at: datetime
    placed_at: datetime | None
    ringing_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime | None
    talk_seconds: float | None
    sip_code: int | None
    q850_cause: int | None
    sip_call_id: str | None
    hung_up_by: HungUpBy | None
    disposition: str | None
    opt_out: bool | None
    callback_at: datetime | None
    callback_refused: str | None


class NetworkReport(BaseModel):
    """What the network reported of a call, and what the engine made of it."""

    kind: EventKind
    at: datetime
    received_at: datetime
    settled_at: datetime | None
    verdict: str | None
    outcome: Outcome | None
    cause: str | None


class CallWithReports(Call):
    reports: list[NetworkReport]


class Contact(BaseModel):
    """A contact to be called. `due_at`: the earliest time of the next call; null where none is due. `waits_for`: why a
    waiting contact is not called before. `priority`: 0 where a callback was asked for.
    """

    id: UUID
    batch_id: UUID
    phone_number: str
    name: str | None
    timezone: str | None
    priority: int
    external_id: str | None
    expires_at: datetime | None
    not_before: datetime | None
    variables: dict[str, Any]
    status: ContactStatus
    status_reason: str | None
    outcome: Outcome | None
    attempts: int
    due_at: datetime | None
    waits_for: WaitsFor | None
    created_at: datetime
    finished_at: datetime | None


class ContactWithCalls(Contact):
    calls: list[Call]


class NumberStatistics(BaseModel):
    """The calls from one outbound number. `calls_now`, `calls_today`: those of all batches, which count to its limits;
    `calls_today` is null without a limit for the day.
    """

    phone_number: str
    calls: int
    answered: int
    in_progress: int
    max_concurrent_calls: int | None
    calls_now: int
    max_calls_per_day: int | None
    calls_today: int | None


class SeriesPoint(BaseModel):
    """What happened in the interval that begins at `at`; `in_progress`: calls at its end."""

    at: datetime
    in_progress: int
    started: int
    ended: int
    answered: int


class HourStatistics(BaseModel):
    """The ended calls that started in one hour of the week, in the batch's time zone; `weekday`: 1 is Monday."""

    weekday: int
    hour: int
    calls: int
    answered: int


class Statistics(BaseModel):
    """Figures of the latest calls of a batch. `is_complete`: no older calls were left out. `answered` includes
    machines. `outcomes`: also `in_progress`, and `refused` where no call was made.
    """

    calls: int
    since: datetime | None
    is_complete: bool
    outcomes: dict[str, int]
    numbers: list[NumberStatistics]
    interval_seconds: int
    series: list[SeriesPoint]
    hours: list[HourStatistics]


class Violation(BaseModel):
    """A broken rule. `rows`: the ids of the rows that show it."""

    promise: str
    rule: str
    message: str
    rows: list[str]


class Audit(BaseModel):
    """The promises, recomputed from the ledger; no violations are expected."""

    is_clean: bool
    violations: list[Violation]
    attempts: int
    contacts: int
    batches: int


class RowError(BaseModel):
    """A contact that was rejected. `row`: the line of the file, or the position in the list, from 1."""

    row: int
    phone_number: str | None
    reason: str


class ImportReport(BaseModel):
    """What became of each contact. `errors`: the first 100 that were rejected."""

    imported: int
    duplicates: int
    suppressed: int
    rejected: int
    errors: list[RowError]
