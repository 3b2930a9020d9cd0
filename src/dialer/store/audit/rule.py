"""What a rule of the audit is, and the tables it may read.

    these_batches, these_contacts, these_attempts, these_reports    the rows under audit: all, or one batch's
    rows_without_batch      contacts and attempts of batches that do not exist; only if all batches are audited
    ledger      these_attempts with the limits they were allowed by and their place among their contact's attempts
    neighbours  all attempts, of any batch, on the numbers and trunks that these attempts used, with their limits
    people      these_contacts, each with what the ledger says of it

Parameters: :now, and :unknown_zones, the time zones in the ledger that Postgres does not know.
"""

from dataclasses import dataclass
from typing import Literal

Promise = Literal["P1", "P2", "P3", "P4", "P5"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    promise: Promise
    name: str
    sql: str  #: Selects a row for each breach: `id`, the row that breaks the rule, and `fact`, a sentence about it.


def known_zone(zone: str) -> str:
    """Return SQL that names a time zone unambiguously; `zone` is an SQL expression.

    The colon marks the name of a zone: without it CET would be the abbreviation, which has no summer time, and "Mars+5"
    an offset. An unknown zone breaks a rule of its own, and is read as UTC here instead of raising an error.
    """
    return f"(':' || CASE WHEN {zone} = ANY(CAST(:unknown_zones AS text[])) THEN 'UTC' ELSE {zone} END)"
