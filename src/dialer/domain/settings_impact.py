"""What a change of settings means for the contacts of a batch: how many gain, lose or move."""

from collections.abc import Iterable
from dataclasses import dataclass

from pendulum import DateTime

from dialer.domain.batch import Batch
from dialer.domain.calling_span import span_of
from dialer.domain.lane import Lane
from dialer.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class OpenContacts:
    """Contacts that are pending or wait for a retry, and are called under the same conditions."""

    lane: Lane  #: What must hold for them beyond their batch.
    attempts: int  #: How many of their calls were placed.
    is_machine: bool  #: A machine answered the last of them.
    is_due: bool  #: They are pending, or their retry is due.
    becomes_due: bool  #: The same after the change.
    moves: bool  #: The change moves the due time of their retry.
    count: int


@dataclass(frozen=True, slots=True)
class CallingRoom:
    """A batch with its settings before or after a change."""

    batch: Batch
    has_room: bool  #: It has a number to call from, and its daily cap is not used up.

    def allows_attempt(self, contacts: OpenContacts) -> bool:
        """Say whether the retry rules and the expiry of the batch allow another call, now or later."""
        retry = self.batch.retry
        is_retry_allowed = retry.enabled and contacts.attempts <= retry.max_attempts
        return contacts.attempts == 0 or (is_retry_allowed and (retry.machine or not contacts.is_machine))

    def can_call(self, contacts: OpenContacts, now: DateTime) -> bool:
        """Say whether these contacts, which are due, can be called now. Slots that are all in use do not count."""
        batch = self.batch
        is_expired = batch.expires_at is not None and batch.expires_at <= now
        if batch.window is None or is_expired or not self.has_room or not self.allows_attempt(contacts):
            return False
        try:
            windows = contacts.lane.windows(batch.window)
        except InvalidInput:
            return False
        return span_of(windows, batch.window, now) is not None


@dataclass(frozen=True, slots=True)
class SettingsImpact:
    """How many contacts a change of settings concerns, at one moment."""

    gain: int  #: They can be called now, and could not.
    lose: int  #: They could be called now and cannot any more, or wait for a retry that is withdrawn.
    moved: int  #: They wait for a retry whose due time moves.


def impact(before: CallingRoom, after: CallingRoom, contacts: Iterable[OpenContacts], now: DateTime) -> SettingsImpact:
    """Compare what can be called now before and after a change."""
    gain = lose = moved = 0
    for group in contacts:
        could = group.is_due and before.can_call(group, now)
        can = group.becomes_due and after.can_call(group, now)
        is_withdrawn = before.allows_attempt(group) and not after.allows_attempt(group)
        gain += group.count if can and not could else 0
        lose += group.count if is_withdrawn or (could and not can) else 0
        moved += group.count if group.moves and not is_withdrawn else 0
    return SettingsImpact(gain, lose, moved)
