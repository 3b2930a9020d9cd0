"""What became of the rows of a file of contacts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that cannot be called."""

    row: int  #: The line of the file in which it begins, or the position in a JSON list; both from 1.
    phone_number: str | None  #: As it was written, shortened.
    reason: str


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What became of each row; the four counts add up to the rows of the file."""

    imported: int
    duplicates: int  #: The number was in the batch, or earlier in the file.
    suppressed: int
    rejected: int  #: Rows that cannot be called.
    errors: tuple[RejectedRow, ...]  #: The first 100 of those.
