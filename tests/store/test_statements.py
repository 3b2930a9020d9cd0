"""Statements name their columns: with a star, a prepared one breaks when its table gets another column."""

import re
from pathlib import Path

import dialer.store
from dialer.store.attempts import COLUMNS
from dialer.store.database import Database, rows

FILES = sorted(Path(dialer.store.__file__).parent.rglob("*.py"))
STAR = re.compile(r"\b[a-z]+\.\*|\b(?:SELECT|RETURNING)\s+(?:DISTINCT\s+)?\*", re.IGNORECASE)


def test_no_statement_of_the_store_asks_for_all_columns() -> None:
    assert len(FILES) > 30
    stars = [f"{file.name}: {match.group()}" for file in FILES for match in STAR.finditer(file.read_text())]
    assert stars == []


def test_attempts_are_archived_with_every_column(db: Database) -> None:
    with db.begin() as connection:
        for table in ("attempts", "attempts_archive"):
            columns = "SELECT column_name FROM information_schema.columns WHERE table_name = :table"
            column_rows = rows(connection, columns, table=table)
            assert {row.column_name for row in column_rows} == set(COLUMNS), table
