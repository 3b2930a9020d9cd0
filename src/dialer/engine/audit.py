"""Audit: checks the promises P1 to P5 against the ledger, with rules that are written independently of the engine.

Changes nothing and may run at any time. An empty list of violations is the expected answer.
"""

import json
from dataclasses import asdict, dataclass

from pendulum import DateTime

from dialer.domain.ids import BatchId
from dialer.errors import NotFound
from dialer.store.audit import BrokenRule, extent, violations
from dialer.store.database import Database

__all__ = ["AuditReport", "BrokenRule", "audit"]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The broken rules, and how many attempts, contacts and batches were checked."""

    violations: tuple[BrokenRule, ...]
    attempts: int
    contacts: int
    batches: int

    @property
    def is_clean(self) -> bool:
        return not self.violations

    def to_json(self) -> str:
        return json.dumps({"is_clean": self.is_clean} | asdict(self))


def audit(db: Database, now: DateTime, batch_id: BatchId | None = None) -> AuditReport:
    """Check all batches, or one: its own rules, and the limits of its numbers and trunks over all their batches.

    Raises NotFound if there is no such batch.
    """
    with db.begin() as connection:
        attempts, contacts, batches = extent(connection, batch_id)
        if batch_id is not None and not batches:
            raise NotFound(f"No batch {batch_id}")
        return AuditReport(violations(connection, now, batch_id), attempts, contacts, batches)
