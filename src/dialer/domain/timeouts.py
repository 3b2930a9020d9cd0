"""Timeouts of attempts, leases and listeners, in seconds: how long the engine waits before it asks or gives up."""

from collections.abc import Mapping

from dialer.domain.states import AttemptState

RING_SECONDS = 45
"""How long a call may ring before it counts as not answered."""

RING_LEAD_SECONDS = 10
"""How long before the end of the calling window the last call starts, so that it rings inside (P3)."""

PLACE_SECONDS = 15
"""After this, the request of a reserved attempt may not leave any more: rescue may give the attempt back (P1)."""

LEAVE_SECONDS = 1.5
"""How long after its permit a request may leave this machine. A pause waits at most this long before it is confirmed
(P4). Long enough for a new TLS connection."""

HORIZON_SECONDS = 3
"""How far ahead departures of a trunk with a rate are planned: longer than a tick interval, so that the rate is used;
not much longer, so that a pause has little to give back."""

MAX_SKEW_SECONDS = 5.0
"""A process whose clock is further from the ledger's does nothing: its requests could leave too late (P1)."""

GRANT_SECONDS = 20
"""After this, a granted slot may not become an attempt any more: rescue frees the slot after LEASE_SECONDS."""

LEASE_SECONDS = 30
"""A lease whose attempt is not in the ledger by then belongs to a dispatch that died; rescue frees it."""

CALL_SECONDS = 4 * 3600
"""No call lasts longer than this. A call that its network cannot be asked about counts as over then."""

GIVE_UP_SECONDS = CALL_SECONDS + 3600
"""A call that is still up then is closed as unknown: it was hung up repeatedly and its network did not end it."""

HEARD_SECONDS = 15
"""A listener without any message from its network for so long counts as disconnected. There is one every 5 s."""

GONE_SECONDS = 10
"""After this, a placed call that its network no longer has is asked about again, and is over if it is still gone: a
report takes at most a few seconds to the inbox."""

RESCUE_AFTER: Mapping[AttemptState, int] = {
    AttemptState.RESERVED: 30,
    AttemptState.UNCLEAR: 10,
    AttemptState.PLACED: 120,
    AttemptState.RINGING: 120,
    AttemptState.ANSWERED: 120,
    AttemptState.ENDED: 0,
    AttemptState.REFUSED: 0,
}
"""How long an attempt is in a state without a report before rescue asks its network and compares its lease."""

FIRST_ASK_SECONDS = 30
LAST_ASK_SECONDS = 600
"""When rescue asks about an answered call, at the earliest and at the latest: most reports have arrived before."""


def ask_after(state: AttemptState, talk_seconds: float | None) -> float:
    """Say after how many seconds without a report rescue asks about an attempt.

    `talk_seconds`: typical length of its batch's conversations; rescue asks about a call after twice that.
    """
    if state is not AttemptState.ANSWERED or talk_seconds is None:
        return RESCUE_AFTER[state]
    return min(max(2 * talk_seconds, FIRST_ASK_SECONDS), LAST_ASK_SECONDS)


def typical_talk(before: float | None, talk_seconds: float) -> float:
    """Move a running median by one conversation, at most a tenth up or down, so that one long call changes little."""
    if before is None:
        return max(talk_seconds, 1.0)
    return max(min(before * 1.1, talk_seconds) if talk_seconds > before else max(before / 1.1, talk_seconds), 1.0)
