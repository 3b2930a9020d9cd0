"""Callbacks that a person asked for in a call: the contact is called once more, whatever the retry rules are.

Decided when the call ends, or at once if it is over. A callback is granted by the contact's last call only, so however
often it is reported, it is one more call.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pendulum import DateTime

from dialer.domain.attempt import Attempt
from dialer.domain.batch import Batch
from dialer.domain.call import CallEvent
from dialer.domain.call_progress import CallProgress
from dialer.domain.callback import CallbackAnswer, CalledBack, read_reported
from dialer.domain.ids import AttemptId, BatchId
from dialer.domain.states import FINAL_BATCH, LIVE_ATTEMPT, AttemptState, ContactStatus
from dialer.errors import InvalidInput, StateConflict
from dialer.store import batches, call_reports, contacts, progress
from dialer.store.call_reports import ReportedCall
from dialer.store.contacts import LockedContact
from dialer.store.database import Connection

OPTED_OUT = "the person opted out"


def answers(
    connection: Connection,
    ended: Sequence[tuple[Attempt, CallProgress]],
    loaded: Mapping[BatchId, Batch],
    now: DateTime,
) -> dict[AttemptId, CallbackAnswer]:
    """Decide about the callbacks that were asked for in calls that have just ended; the others are left out."""
    asked = [(attempt, call) for attempt, call in ended if attempt.callback_at or call.facts.callback_at is not None]
    if not asked:
        return {}
    suppressed = call_reports.suppressed(connection, [attempt.id for attempt, _ in asked])
    return {
        attempt.id: _answer(attempt, call, loaded[attempt.batch_id], attempt.id in suppressed, now)
        for attempt, call in asked
    }


def _answer(attempt: Attempt, call: CallProgress, batch: Batch, is_suppressed: bool, now: DateTime) -> CallbackAnswer:
    if call.state is AttemptState.REFUSED:
        return CallbackAnswer(refused="no call was made")
    if call.facts.opt_out or is_suppressed:
        return CallbackAnswer(refused=OPTED_OUT if call.facts.opt_out else "the number is suppressed")
    if batch.status in FINAL_BATCH:
        return CallbackAnswer(refused=f"the batch is {batch.status}")
    if call.facts.callback_at is None:
        return CallbackAnswer(attempt.callback_at)
    answer = CalledBack(batch, attempt.lane, attempt.contact_expires_at).answer(call.facts.callback_at, now)
    return CallbackAnswer(answer.at or attempt.callback_at, answer.refused)


def report_late(connection: Connection, event: CallEvent, now: DateTime) -> bool:
    """Grant or refuse the callback in a report of a call that is over; its attempt is locked by this transaction.

    False: another session has locked the batch or the contact, so the report has to wait.
    """
    call = call_reports.lock(connection, event.attempt_id)
    assert call is not None
    assert event.facts.callback_at is not None
    if event.facts.opt_out:
        call_reports.refuse_callback(connection, call, OPTED_OUT)
        return True
    try:
        return call_back(connection, call, read_reported(event.facts.callback_at), now, skip_locked=True)
    except (InvalidInput, StateConflict) as error:
        reason = error.errors[0].reason if error.errors else str(error)
        call_reports.refuse_callback(connection, call, reason)
    return True


def call_back(
    connection: Connection, call: ReportedCall, asked: datetime, now: DateTime, *, skip_locked: bool = False
) -> bool:
    """Grant a callback of a call whose row is locked. While the call is up, its end decides.

    False: another session has locked the batch or the contact. Raises InvalidInput and StateConflict; nothing is
    written then. Called twice: the same.
    """
    # The counts are locked before the batch is read: a cancellation is either seen here, or waits and then ends the
    # contact.
    if not progress.lock_progress(connection, [call.batch_id], skip_locked=skip_locked):
        return False
    (batch,) = batches.load(connection, [call.batch_id])
    contact = contacts.lock_one(connection, call.batch_id, call.contact_id, skip_locked=skip_locked)
    if contact is None:
        return False
    called_back = CalledBack(batch, contact.lane, contact.expires_at)
    at = called_back.moment(asked)
    if at == call.callback_at:
        return True
    _refuse_states(connection, call, batch, contact)
    called_back.check(at, now)
    call_reports.grant_callback(connection, call, at)
    if call.state not in LIVE_ATTEMPT:
        contacts.call_back_once_more(connection, call.contact_id, at)
    return True


def _refuse_states(connection: Connection, call: ReportedCall, batch: Batch, contact: LockedContact) -> None:
    if call.state is AttemptState.REFUSED:
        raise StateConflict("No call was made", code="call_was_refused")
    if batch.status in FINAL_BATCH:
        raise StateConflict(f"Batch is {batch.status}; nobody is called back", code="batch_is_final")
    if call_reports.suppressed(connection, [call.id]):
        raise StateConflict("The number is suppressed; it is not called back", code="number_suppressed")
    if call_reports.was_called_again(connection, call):
        raise StateConflict("The contact has been called again since this call", code="call_is_not_last")
    if contact.is_erased:
        raise StateConflict("The person was erased; nobody is called back", code="contact_is_final")
    if contact.status in (ContactStatus.SKIPPED, ContactStatus.CANCELLED):
        raise StateConflict(f"Contact is {contact.status}; it is not called again", code="contact_is_final")
