"""A file of contacts: opened, shown while it is read, and what became of its rows."""

import io
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import rich.progress
from rich.console import Console

from dialer.domain.import_result import ImportResult
from dialer.errors import UnreadableFile

SHOWN_ROW_ERRORS = 10


def open_contact_file(file: Path) -> AbstractContextManager[BinaryIO]:
    """Open a file of contacts; `-`: standard input."""
    if str(file) == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except OSError as error:
        raise UnreadableFile.of("file", f"{file} cannot be read: {error.strerror}") from None


def with_progress_bar(stream: BinaryIO) -> AbstractContextManager[BinaryIO]:
    """Show on a terminal how much of a file has been read."""
    console = Console(stderr=True)
    if not (console.is_terminal and stream.seekable()):
        return nullcontext(stream)
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return rich.progress.wrap_file(stream, size, description="Loading", console=console, transient=True)


def row_report(report: ImportResult) -> str:
    """Format what became of the rows of a file."""
    skipped = f"{report.duplicates:,} duplicates, {report.suppressed:,} suppressed, {report.rejected:,} rejected"
    shown = report.errors[:SHOWN_ROW_ERRORS]
    lines = [f"Loaded {report.imported:,} contacts; {skipped}."]
    lines += [f"  line {error.row}: {error.reason}" for error in shown]
    if report.rejected > len(shown):
        lines.append(f"  … and {report.rejected - len(shown):,} more")
    return "\n".join(lines)
