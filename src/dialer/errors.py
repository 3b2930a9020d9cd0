"""Every error that Dialer raises on purpose.

    DialerError                 code, one clear sentence
    ├── InvalidInput            what was given cannot be used; carries (field, reason) pairs
    │   ├── UnreadableFile      the whole file is refused; nothing of it was stored
    │   └── UnreadableBody      the body is not what its type says
    ├── NotAuthenticated        no key was given, or none that counts
    ├── NotAllowed              the role of the key does not suffice
    ├── NotSigned               a request does not prove that it comes from the network of its trunk
    ├── NotFound                no such row in this workspace
    ├── StateConflict           the present state does not allow what was asked
    ├── KeyInUse                a request with the same idempotency key is still running
    ├── TooLarge                larger than the configured limit
    ├── TooManyRequests         the rate limit is used up; says when to come back
    ├── UnreadableReport        a report in the inbox has a value that this release does not know
    ├── Unavailable             a part that Dialer needs does not answer, or is not fit for use
    │   ├── Unfit               the database cannot do what is asked as it is now
    │   └── Busy                as many requests of this kind as are allowed are under way
    └── Contended               another transaction holds what this one needs; nothing was done, try again

The command line prints `str(error)` and exits 1; the HTTP API answers with `code`.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One reason why one field was refused."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class DialerError(Exception):
    """Base of all. `code` is stable and meant for programs; the message is meant for people."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code


class InvalidInput(DialerError):
    """What was given cannot be used; every wrong field is named at once."""

    code = "invalid_input"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self.errors = tuple(errors)

    @classmethod
    def of(cls, field: str, reason: str) -> "InvalidInput":
        return cls([FieldError(field, reason)])


class UnreadableFile(InvalidInput):
    """The file as a whole cannot be read; nothing of it was stored."""

    code = "unreadable_file"


class UnreadableBody(InvalidInput):
    """The body of a request is not what its type says."""

    code = "unreadable_body"


class NotAuthenticated(DialerError):
    """No key was given, or none that counts."""

    code = "not_authenticated"


class NotAllowed(DialerError):
    """The role of the key does not suffice."""

    code = "not_allowed"


class NotSigned(DialerError):
    """A request does not prove that it comes from the network of its trunk."""

    code = "not_signed"


class NotFound(DialerError):
    """No such row in this workspace."""

    code = "not_found"


class StateConflict(DialerError):
    """The present state does not allow what was asked; the message names the state."""

    code = "state_conflict"


class KeyInUse(DialerError):
    """A request with the same idempotency key is still running; ask again for its answer."""

    code = "idempotency_key_in_use"


class TooLarge(DialerError):
    """What was sent is larger than the configured limit."""

    code = "too_large"


class TooManyRequests(DialerError):
    """The rate limit is used up."""

    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class UnreadableReport(DialerError):
    """A report in the inbox has a value that this release does not know."""

    code = "unreadable_report"


class Unavailable(DialerError):
    """A part that Dialer needs does not answer, or is not fit for use."""

    code = "unavailable"


class Unfit(Unavailable):
    """The database answers, and cannot do what is asked as it is now: its schema, its disk, a server that is read-only.

    The message is for the log: it may name tables and values.
    """


class Busy(Unavailable):
    """As many requests of this kind as are allowed are under way; nothing was done."""

    code = "busy"


class Contended(DialerError):
    """Another transaction holds what this one needs; nothing was done, and it can be tried again."""

    code = "contended"
