"""How long the engine believes in an attempt that nobody reports on, in seconds."""

from collections.abc import Mapping

from dialer.domain.states import AttemptState

RING_SECONDS = 45
"""How long a call may ring before it counts as not answered."""

RING_LEAD_SECONDS = 10
"""How long before the end of the calling window the last call starts, so that it rings inside."""

PLACE_SECONDS = 15
"""After this, a reserved attempt may not be sent to the network any more: rescue may be about to give it back."""

LEAVE_SECONDS = 1.5
"""How long after dispatch has looked at an attempt for the last time its request may leave this machine. A pause waits
for so long, at most, before it is confirmed (P4). Long enough for a new connection with TLS."""

HORIZON_SECONDS = 3
"""How far ahead departures of a trunk with a rate are planned: further than one tick is from the next, so that the rate
is used, and no further, so that a pause gives little back."""

MAX_SKEW_SECONDS = 5.0
"""A process whose clock is further from the ledger's does nothing: requests would leave when they must not any more."""

GRANT_SECONDS = 20
"""After this, a granted slot may not become an attempt any more: rescue frees the slot at 30."""

CALL_SECONDS = 4 * 3600
"""No call is up longer than this. A call about which the network has no word is over then."""

GIVE_UP_SECONDS = CALL_SECONDS + 3600
"""A call that its network says is still up then is closed as unknown: hanging it up, again and again, did not help."""

HEARD_SECONDS = 15
"""A listener that has had no word of its network for so long does not hear it. It has every 5 s while all is well."""

RESCUE_AFTER: Mapping[AttemptState, int] = {
    AttemptState.RESERVED: 30,
    AttemptState.UNCLEAR: 10,
    AttemptState.PLACED: 120,
    AttemptState.RINGING: 120,
    AttemptState.ANSWERED: 120,
    AttemptState.ENDED: 0,
    AttemptState.REFUSED: 0,
}
"""When rescue asks the network about an attempt that is in this state since, and compares its slot with the ledger."""

FIRST_ASK_SECONDS = 30
LAST_ASK_SECONDS = 600
"""An answered call is asked about between these: late enough for most reports, soon enough where one was lost."""


def ask_after(state: AttemptState, talk_seconds: float | None) -> float:
    """Say after how many seconds without a report rescue asks about an attempt.

    `talk_seconds`: how long a conversation of its batch typically lasts; a call is asked about at twice that.
    """
    if state is not AttemptState.ANSWERED or talk_seconds is None:
        return RESCUE_AFTER[state]
    return min(max(2 * talk_seconds, FIRST_ASK_SECONDS), LAST_ASK_SECONDS)


def typical_talk(before: float | None, talk_seconds: float) -> float:
    """Move a running median by one conversation: a tenth of itself up or down, so that one long call changes little."""
    if before is None:
        return max(talk_seconds, 1.0)
    return max(min(before * 1.1, talk_seconds) if talk_seconds > before else max(before / 1.1, talk_seconds), 1.0)
