"""From where a batch was changed, and with which key."""

from dataclasses import dataclass
from enum import StrEnum

from dialer.domain.ids import KeyId

# By which the API tells the commands from other clients.
CLI_USER_AGENT = "dialer-cli"


class ChangeSource(StrEnum):
    """From where a batch was changed."""

    API = "api"  #: A request of a program.
    CLI = "cli"  #: A command of `dialer`.
    CONSOLE = "console"  #: A page of the console.
    SQL = "sql"  #: A statement that an operator sent to Postgres.
    ENGINE = "engine"  #: A step: the batch was started at its time, was completed, or failed.


@dataclass(frozen=True, slots=True)
class ChangeOrigin:
    """What the history of a batch keeps about who changed it."""

    source: ChangeSource
    key_id: KeyId | None = None  #: The API key. None: it was changed without one.
