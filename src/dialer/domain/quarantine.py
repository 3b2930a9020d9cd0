"""When a report that fails is quarantined, and how long it waits before it is tried again.

Only a report whose own data is wrong is quarantined. A schema that does not fit, a full disk or a bug of a release
makes many rows fail alike; these wait until it is repaired, however long that takes (P5). What happens to a report then
is in engine/quarantine.py.
"""

from dataclasses import dataclass

# A report is quarantined after this many tries over this many seconds.
TRIES = 5
SECONDS = 120
# More reports than these that fail alike are the fault of the schema or the release, not of the rows.
MOST_EQUAL = 10
# The backoff before a report is tried again doubles from the first to the last of these.
FIRST_BACKOFF_SECONDS = 5
LAST_BACKOFF_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Failure:
    """A report that has just failed again."""

    is_of_data: bool  #: The error is about the row's own values.
    tries: int  #: How often it has failed.
    seconds: float  #: Since it failed for the first time, by the ledger's clock.
    equal: int  #: Reports that fail with the same kind of error now, this one included.
    others_go_well: bool  #: Another report has been stored or settled since then.

    @property
    def is_the_rows_own(self) -> bool:
        """Decide whether only this row can be to blame."""
        return (
            self.is_of_data
            and self.tries >= TRIES
            and self.seconds >= SECONDS
            and self.equal <= MOST_EQUAL
            and self.others_go_well
        )
