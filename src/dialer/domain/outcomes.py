"""How a call ended, and whose fault it is when it could not be placed."""

from enum import StrEnum


class Outcome(StrEnum):
    """What an ended attempt came to."""

    ANSWERED = "answered"
    MACHINE = "machine"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    REJECTED = "rejected"
    INVALID_NUMBER = "invalid_number"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class CauseClass(StrEnum):
    """Who is to blame for a refused placement.

    `contact`: this number cannot be called, so the contact fails. `infrastructure` and `policy`: the contact is
    innocent, keeps all its attempts and is called again later. `rate`: the network takes calls more slowly than they
    come; nothing has failed, and the contact is called again as soon as the network lets it. `agent`: an answered call
    would have nowhere to go, so the agent is held on this trunk; the contact keeps all its attempts.
    """

    CONTACT = "contact"
    INFRASTRUCTURE = "infrastructure"
    POLICY = "policy"
    RATE = "rate"
    AGENT = "agent"
