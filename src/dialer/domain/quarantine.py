"""When a report that fails is put into quarantine, and how long it waits before it is tried again.

Only what is wrong with the row's own data goes there. A schema that does not fit, a full disk or a bug of a release
fails many rows alike; these wait until it is mended, however long that takes.
"""

from dataclasses import dataclass

TRIES = 5
SECONDS = 120
MOST_EQUAL = 10
FIRST_BACKOFF_SECONDS = 5
LAST_BACKOFF_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of a report that has just failed again.

    `is_of_data`: the error names the row's own values. `seconds`: since it failed for the first time, by the ledger's
    clock. `equal`: reports that fail with the same kind of error now, this one included. `others_go_well`: some report
    that came in or was settled since then did not fail.
    """

    is_of_data: bool
    tries: int
    seconds: float
    equal: int
    others_go_well: bool

    @property
    def is_the_rows_own(self) -> bool:
        """Say whether only this row can be to blame."""
        return (
            self.is_of_data
            and self.tries >= TRIES
            and self.seconds >= SECONDS
            and self.equal <= MOST_EQUAL
            and self.others_go_well
        )
