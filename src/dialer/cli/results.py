"""The results of a run: rejected rows, outcomes of the contacts, and the audit. As text or as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from dialer.cli.audits import audit_report
from dialer.cli.progress import duration
from dialer.domain.batch_progress import Progress
from dialer.domain.import_result import ImportResult
from dialer.domain.states import BatchStatus
from dialer.engine.audit import AuditReport
from dialer.store import batches
from dialer.store.database import Database

WIDTH = 72


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a batch that is over."""

    batch: Progress
    imported: ImportResult
    audit: AuditReport
    rows: Sequence[Any]  #: Contacts and attempts by status and outcome.
    attempts: int
    answered: int  #: Calls that a person answered.
    talk_seconds: float  #: Of all its calls.

    @classmethod
    def read(cls, db: Database, batch: Progress, imported: ImportResult, audit: AuditReport) -> "Results":
        """Read the results from the ledger."""
        with db.begin() as connection:
            rows = batches.results(connection, batch.id)
            made, talk = batches.attempts_made(connection, batch.id), batches.talk(connection, batch.id)
            return cls(batch, imported, audit, rows, made, talk.answered, float(talk.seconds))

    @property
    def is_good(self) -> bool:
        """Whether the batch was completed, every contact is final and the audit is clean."""
        unfinished = self.batch.pending + self.batch.waiting + self.batch.dialing
        return self.batch.status is BatchStatus.COMPLETED and not unfinished and self.audit.is_clean

    def to_json(self) -> str:
        rows = [dict(row._mapping) | {"attempts": int(row.attempts)} for row in self.rows]
        return json.dumps(
            {
                "batch_id": str(self.batch.id),
                "status": self.batch.status,
                "status_reason": self.batch.status_reason,
                "import": asdict(self.imported),
                "attempts": self.attempts,
                "answered": self.answered,
                "talk_seconds": self.talk_seconds,
                "results": rows,
                "audit": json.loads(self.audit.to_json()),
            }
        )

    def to_text(self) -> str:
        """Format the table, the status if it is not completed, and the audit."""
        console = Console(width=WIDTH, highlight=False)
        with console.capture() as capture:
            console.print(self._table())
        return capture.get() + "\n".join([*self._status_lines(), *self._talk_lines(), audit_report(self.audit)])

    def _table(self) -> Table:
        table = Table(title="Results", title_justify="left")
        table.add_column("status")
        table.add_column("outcome")
        table.add_column("contacts", justify="right")
        table.add_column("attempts", justify="right")
        for row in self.rows:
            table.add_row(row.status, row.outcome or row.reason or "", f"{row.contacts:,}", f"{row.attempts:,}")
        table.add_section()
        table.add_row("total", "", f"{self.batch.total:,}", f"{self.attempts:,}")
        return table

    def _talk_lines(self) -> list[str]:
        if not self.attempts:
            return []
        rate, talk = self.answered / self.attempts, duration(self.talk_seconds)
        return [f"{self.answered:,} of {self.attempts:,} calls answered ({rate:.0%}), {talk} of talk."]

    def _status_lines(self) -> list[str]:
        if self.batch.status is BatchStatus.COMPLETED:
            return []
        reason = f": {self.batch.status_reason}" if self.batch.status_reason else ""
        return [f"Batch {self.batch.id} is {self.batch.status}{reason}."]
