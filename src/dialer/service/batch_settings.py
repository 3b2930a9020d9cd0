"""Changes of the settings of a batch that is not over, also while it is being called.

A change is checked like a new batch, takes effect with its commit (claims that were planned with other settings are
dropped), and makes a new version, which triggers store with who made it.
"""

from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pendulum import DateTime
from pydantic import ConfigDict, Field

from dialer.domain.batch import Batch
from dialer.domain.calling_hours import CallingHours
from dialer.domain.ids import BatchId, WorkspaceId
from dialer.domain.public_holidays import PublicHolidays
from dialer.domain.retry import RetryRules
from dialer.domain.settings_impact import CallingRoom, SettingsImpact, impact
from dialer.domain.states import FINAL_BATCH, BatchStatus
from dialer.domain.window import CallingWindow
from dialer.engine import journal
from dialer.errors import NotFound, SettingsChanged, StateConflict
from dialer.service import edit_batch
from dialer.service.fields import Changes, InputModel, Reason, Storable
from dialer.service.new_batch import LiveSettings, NewBatch
from dialer.store import batch_edits, batch_settings, batch_views, batches, numbers
from dialer.store.database import Connection, Database, optional_moment

FIELDS = tuple(LiveSettings.model_fields)
_WINDOW = {"timezone", "start_time", "end_time", "working_days", "calling_hours", "excluded_dates", "holidays"}
_MOVES_RETRIES = _WINDOW | {"retry_delays"}
_DECIDES_WHO = _MOVES_RETRIES | {
    "phone_number_ids",
    "max_calls_per_day",
    "retry_failed",
    "max_retry_attempts",
    "retry_machine",
    "expires_at",
}

Token = Annotated[Storable, Field(max_length=100)]


class ChangedSettings(LiveSettings, Changes):
    """The settings to be changed; what is absent stays as it is, null clears what may be absent.

    `if_match`: from an earlier answer; if the batch has changed since, nothing is done. `reason`: kept in the history.
    """

    model_config = ConfigDict(json_schema_extra={"example": {"max_concurrent_calls": 5, "reason": "lines are busy"}})

    reason: Reason | None = None
    if_match: Token | None = None


class Undo(InputModel):
    """How the latest change of settings is taken back."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "wrong batch"}})

    reason: Reason | None = None
    if_match: Token | None = None


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """A change that could be made."""

    changes: Mapping[str, tuple[Any, Any]]  #: Field -> its value now, and its new value.
    impact: SettingsImpact
    if_match: str  #: Names the settings that were read.


@dataclass(frozen=True, slots=True)
class _Edit:
    """A stored batch, and what it would be after a change. `fields`: those that really change."""

    row: Any
    edited: NewBatch
    fields: tuple[str, ...]


def change(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    changed: ChangedSettings,
    now: DateTime,
    if_match: str | None = None,
) -> None:
    """Change settings of a batch.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        changed: the fields; those that were not set stay as they are.
        now: the current time.
        if_match: as `changed.if_match`; where both are given, both must be current.

    Raises:
        NotFound: there is no such batch in this workspace.
        SettingsChanged: the batch has changed since `if_match` was returned.
        StateConflict: the batch is over (`batch_is_final`), would have no number to call from (`no_outbound_number`),
            its window would never open (`window_never_opens`), or its agent is not ready (`agent_not_ready`).
        InvalidInput: the changed batch would not be valid.
    """

    def apply(connection: Connection) -> Sequence[str]:
        _lock(connection, workspace_id, batch_id)
        edit = _edit(connection, workspace_id, batch_id, changed, now, if_match)
        _write(connection, batch_id, edit, changed.reason)
        return edit.fields

    journal.batch_settings(db, batch_id, db.insist(apply))


def plan(
    db: Database,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    changed: ChangedSettings,
    now: DateTime,
    if_match: str | None = None,
) -> PlannedChange:
    """Say what a change of settings would do. Nothing is changed, and nothing is locked.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        changed: the fields; those that were not set stay as they are.
        now: the current time.
        if_match: as `changed.if_match`; where both are given, both must be current.

    Returns:
        The fields that would change, and how many contacts that would concern now, whatever the status of the batch.

    Raises:
        DialerError: the change would be refused, see `change`.
    """
    with db.begin() as connection:
        edit = _edit(connection, workspace_id, batch_id, changed, now, if_match)
        edited = edit.edited.model_dump()
        changes = {name: (edit.row._mapping[name], edited[name]) for name in edit.fields}
        return PlannedChange(changes, _impact(connection, edit, now), token(batch_id, edit.row.version))


def undo(db: Database, workspace_id: WorkspaceId, batch_id: BatchId, how: Undo, now: DateTime) -> None:
    """Take back the latest change of settings: those before it become a new version. Twice: the change is made again.

    Args:
        db: the database.
        workspace_id: the workspace of the caller.
        batch_id: the batch.
        how: why, and the settings that are expected to be there.
        now: the current time.

    Raises:
        NotFound: there is no such batch in this workspace.
        StateConflict: no setting has been changed (`nothing_to_undo`), and as for `change`.
        SettingsChanged: the batch has changed since `if_match` was returned.
        InvalidInput: the earlier settings are not valid any more, for example an expiry that has passed.
    """

    def apply(connection: Connection) -> Sequence[str]:
        _lock(connection, workspace_id, batch_id)
        row = _read(connection, workspace_id, batch_id, how.if_match)
        earlier = batch_settings.version_to_restore(connection, batch_id, FIELDS)
        if earlier is None:
            raise StateConflict("No setting of this batch has been changed", code="nothing_to_undo")
        stored = {**earlier._mapping, "phone_number_ids": earlier.settings["phone_number_ids"]}
        values = {name: stored[name] for name in FIELDS if name in earlier.settings}
        edit = _checked(connection, workspace_id, row, values, now)
        _write(connection, batch_id, edit, how.reason or f"Back to version {earlier.listed_version}")
        return edit.fields

    journal.batch_settings(db, batch_id, db.insist(apply))


def token(batch_id: BatchId, version: int) -> str:
    """Name a version of a batch, which any change of the batch makes stale, also one in SQL.

    Args:
        batch_id: the batch.
        version: its version.

    Returns:
        The token, as clients get it.
    """
    return urlsafe_b64encode(batch_id.bytes + version.to_bytes(4)).decode().rstrip("=")


def _lock(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId) -> None:
    if not batch_edits.lock_settings(connection, workspace_id, batch_id):
        raise NotFound("No such batch in this workspace")


def _edit(
    connection: Connection,
    workspace_id: WorkspaceId,
    batch_id: BatchId,
    changed: ChangedSettings,
    now: DateTime,
    if_match: str | None,
) -> _Edit:
    row = _read(connection, workspace_id, batch_id, if_match, changed.if_match)
    values = changed.model_dump(include=set(FIELDS), exclude_unset=True)
    return _checked(connection, workspace_id, row, values, now)


def _read(connection: Connection, workspace_id: WorkspaceId, batch_id: BatchId, *tokens: str | None) -> Any:
    row = batch_views.read(connection, workspace_id, batch_id)
    if row is None:
        raise NotFound("No such batch in this workspace")
    if {*tokens} - {None, token(batch_id, row.version)}:
        raise SettingsChanged("The batch has changed since this if_match was returned; read it again")
    if BatchStatus(row.status) in FINAL_BATCH:
        raise StateConflict(f"Batch is {row.status}; settings of a batch that is over stay", code="batch_is_final")
    return row


def _checked(
    connection: Connection, workspace_id: WorkspaceId, row: Any, values: Mapping[str, Any], now: DateTime
) -> _Edit:
    """Merge new values into a stored batch and check those that really change."""
    edited = edit_batch.merged(row, values)
    changed = edited.model_dump()
    fields = tuple(name for name in values if changed[name] != row._mapping[name])
    edit_batch.check(connection, workspace_id, edited, fields, now)
    starts_at = optional_moment(edited.scheduled_at) or now
    if _WINDOW & set(fields) and _window(edited).next_open(max(now, starts_at)) is None:
        raise StateConflict("The calling window never opens", code="window_never_opens")
    return _Edit(row, edited, fields)


def _write(connection: Connection, batch_id: BatchId, edit: _Edit, reason: str | None) -> None:
    batch_settings.note_reason(connection, reason)
    columns = {name: value for name, value in edit.edited.columns().items() if name in edit.fields}
    number_ids = edit.edited.phone_number_ids if "phone_number_ids" in edit.fields else None
    batch_edits.change(connection, batch_id, columns, number_ids)


def _impact(connection: Connection, edit: _Edit, now: DateTime) -> SettingsImpact:
    if not _DECIDES_WHO & set(edit.fields):
        return SettingsImpact(0, 0, 0)
    (batch,) = batches.load(connection, [edit.row.id])
    outbound = numbers.of_batches(connection, [batch.id]).get(batch.id, [])
    could_use = any(number.is_usable for number in outbound)
    delays = edit.edited.retry_delays if _MOVES_RETRIES & set(edit.fields) else None
    contacts = batch_settings.open_contacts(connection, batch.id, delays, now)
    after = _after(batch, edit.edited)
    return impact(
        CallingRoom(batch, could_use and _has_cap_room(connection, batch, now)),
        CallingRoom(after, (could_use or "phone_number_ids" in edit.fields) and _has_cap_room(connection, after, now)),
        contacts,
        now,
    )


def _has_cap_room(connection: Connection, batch: Batch, now: DateTime) -> bool:
    if batch.max_calls_per_day is None or batch.window is None:
        return True
    today = batches.calls_today(connection, {batch.id: batch.window.local_day(now)})
    return today.get(batch.id, 0) < batch.max_calls_per_day


def _after(batch: Batch, edited: NewBatch) -> Batch:
    return replace(
        batch,
        window=_window(edited),
        retry=RetryRules(edited.retry_failed, edited.max_retry_attempts, machine=edited.retry_machine),
        max_calls_per_day=edited.max_calls_per_day,
        expires_at=optional_moment(edited.expires_at),
    )


def _window(edited: NewBatch) -> CallingWindow:
    return CallingWindow(
        edited.timezone,
        edited.start_time,
        edited.end_time,
        frozenset(edited.working_days),
        frozenset(edited.excluded_dates),
        None if edited.calling_hours is None else CallingHours.read(edited.calling_hours),
        None if edited.holidays is None else PublicHolidays(edited.holidays.country, edited.holidays.region),
    )
