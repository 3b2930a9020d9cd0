"""All errors that Dialer raises on purpose.

    DialerError                 code, one clear sentence
    ├── InvalidInput            the input is wrong; has (field, reason) pairs
    │   ├── UnreadableFile      the whole file is refused; nothing of it was stored
    │   └── UnreadableBody      the body does not match its content type
    ├── NotAuthenticated        the key is missing or not valid
    ├── NotAllowed              the role of the key is not sufficient
    ├── NotSigned               the signature of a webhook is missing or wrong
    ├── NotFound                no such row in this workspace
    ├── StateConflict           the current state does not allow the request
    ├── SettingsChanged         the settings have changed since the client read them
    ├── KeyInUse                a request with the same idempotency key is still running
    ├── TooLarge                larger than the configured limit
    ├── TooManyRequests         the rate limit is used up; says when to retry
    ├── UnreadableReport        a call event in the inbox has a value that this release does not know
    ├── Unavailable             a server that Dialer needs does not answer, or cannot be used
    │   ├── Unfit               the database answers, but cannot execute the request as it is now
    │   ├── ReportsRefused      some of these call events cannot be stored yet
    │   └── Busy                too many requests of this type are running
    └── Contended               another transaction holds a lock that this one needs; nothing was done, try again

The command line prints `str(error)` and exits 1; the HTTP API answers with `code`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_FIELD = 200


@dataclass(frozen=True, slots=True)
class FieldError:
    """Why one field was refused. A longer name is cut, because clients may invent names of any length."""

    field: str
    reason: str

    def __post_init__(self) -> None:
        if len(self.field) > MAX_FIELD:
            object.__setattr__(self, "field", f"{self.field[:MAX_FIELD]}…")

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class DialerError(Exception):
    """Base class. `code` is stable and for programs; the message is for people. `errors`: the fields at fault."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.errors = tuple(errors)


class InvalidInput(DialerError):
    """The input is wrong; all wrong fields are named at once."""

    code = "invalid_input"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(str(error) for error in errors), errors=errors)

    @classmethod
    def of(cls, field: str, reason: str) -> "InvalidInput":
        """Make the error for one field."""
        return cls([FieldError(field, reason)])


class UnreadableFile(InvalidInput):
    """The file as a whole cannot be read; nothing of it was stored."""

    code = "unreadable_file"


class UnreadableBody(InvalidInput):
    """The body of a request does not match its content type."""

    code = "unreadable_body"


class UnsupportedMedia(InvalidInput):
    """The body of a request has a type or an encoding that is not accepted."""

    code = "unsupported_media_type"


class NotAuthenticated(DialerError):
    """The key is missing or not valid."""

    code = "not_authenticated"


class NotAllowed(DialerError):
    """The role of the key is not sufficient."""

    code = "not_allowed"


class NotSigned(DialerError):
    """The signature of a webhook is missing or wrong."""

    code = "not_signed"


class NotFound(DialerError):
    """No such row in this workspace."""

    code = "not_found"


class StateConflict(DialerError):
    """The current state does not allow the request; the message names the state."""

    code = "state_conflict"


class SettingsChanged(DialerError):
    """The settings are not those any more for which the request was made; nothing was done."""

    code = "settings_changed"


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
    """A call event in the inbox has a value that this release does not know."""

    code = "unreadable_report"


class Unavailable(DialerError):
    """A server that Dialer needs does not answer, or cannot be used."""

    code = "unavailable"


class ReportsRefused(Unavailable):
    """Some of several call events cannot be stored yet; their network must send all of them again."""


class Unfit(Unavailable):
    """The database answers, but cannot execute the request as it is now: wrong schema, full disk, read-only server.

    The message is for the log: it may contain table names and values.
    """


class Busy(Unavailable):
    """Too many requests of this type are running; nothing was done."""

    code = "busy"


class Contended(DialerError):
    """Another transaction holds a lock that this one needs; nothing was done, and it can be tried again."""

    code = "contended"
