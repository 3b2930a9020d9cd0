"""Contacts in a CSV file: bytes go in; contacts and rejected rows come out, one at a time.

The column `phone` or `phone_number` is required, and the other CONTACT_FIELDS are optional; every other column becomes
a variable with the name in the header. Names of known columns match in any case, with or without spaces, hyphens and
underscores. Cells are stripped, and an empty cell counts as absent. Cells missing at the end of a row are empty; cells
beyond the header, or under an empty header cell, must be empty. Nothing is stored here, and rows are not compared.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from dialer.domain.calling_rules import EVERYTHING, CallingRules
from dialer.domain.contact import CONTACT_FIELDS, MAX_VARIABLE_NAME_CHARACTERS, NewContact, parse_contact
from dialer.domain.import_result import RejectedRow
from dialer.errors import InvalidInput
from dialer.service.csv_reader import CsvRow, Readable, read_rows, unreadable

_KNOWN = {field.replace("_", ""): field for field in CONTACT_FIELDS} | {"phone": "phone_number"}
_SHOWN_COLUMNS = 10
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class _Layout:
    """What each column holds."""

    fields: tuple[tuple[str, int], ...]  #: CONTACT_FIELDS with the index of their column.
    variables: tuple[tuple[str, int], ...]  #: Names of variables with the index of their column.
    nameless: tuple[int, ...]  #: Columns whose header cell is empty.
    width: int  #: Number of header cells.


def read_contacts(
    stream: Readable,
    *,
    default_region: str | None,
    batch_timezone: str,
    rules: CallingRules = EVERYTHING,
    columns: Collection[str] | None = None,
) -> Iterator[NewContact | RejectedRow]:
    """Yield a contact or a rejection for each row that is not blank.

    Args:
        stream: the file.
        default_region: country of numbers without a country code, as in `DE`; None: such numbers are rejected.
        batch_timezone: zone of times without an offset.
        rules: what the workspace may call.
        columns: names in lower case; all other columns are ignored. None: every column is read.

    Yields:
        NewContact, or RejectedRow with the line in which the row begins.

    Raises:
        UnreadableFile: while iterating, possibly after many rows, so store them in one transaction.
    """
    rows = read_rows(stream, _has_phone)
    layout = _read_header(next(rows, None), columns)
    for line, row_cells in rows:
        cells = row_cells if columns is None else row_cells[: layout.width]
        padded = cells + [""] * (layout.width - len(cells))
        try:
            fields, variables = _read_row(layout, padded)
            yield parse_contact(
                fields, variables, default_region=default_region, batch_timezone=batch_timezone, rules=rules
            )
        except InvalidInput as error:
            yield RejectedRow(line, _phone_cell(layout, padded), str(error))


def read_columns(stream: Readable) -> list[tuple[str, str]]:
    """Read the header of a file.

    Args:
        stream: the file.

    Returns:
        The name of each column as it is written, and what it holds: a field of contacts, `variable`, or `` for a column
        without a name.

    Raises:
        UnreadableFile: the header cannot be read, or has no column of telephone numbers.
    """
    header = next(read_rows(stream, _has_phone), None)
    _read_header(header, None)
    assert header is not None
    names = [(cell.strip(), _canonical(cell)) for cell in header.cells]
    return [(written, name if name in CONTACT_FIELDS else "variable" if name else "") for written, name in names]


def _read_row(layout: _Layout, cells: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the fields and the variables of a row."""
    for index in (*layout.nameless, *range(layout.width, len(cells))):
        if cells[index].strip():
            raise InvalidInput.of("row", f"has a value in column {index + 1}, which the header does not name")
    fields = {field: cells[index] for field, index in layout.fields}
    variables = {name: value for name, index in layout.variables if (value := cells[index].strip())}
    return fields, variables


def _phone_cell(layout: _Layout, cells: Sequence[str]) -> str | None:
    return cells[dict(layout.fields)["phone_number"]].strip()[:_SHOWN_CHARACTERS] or None


def _read_header(row: CsvRow | None, wanted: Collection[str] | None) -> _Layout:
    if row is None:
        raise unreadable("is empty")
    header = row.cells
    names = [_canonical(cell) for cell in header]
    if "phone_number" not in names:
        raise unreadable(f"has no column phone or phone_number; its columns are {_shortened(header)}")
    columns = [(name, index) for index, name in enumerate(names) if name and (wanted is None or name.lower() in wanted)]
    _refuse_bad_names([name for name, _ in columns])
    return _Layout(
        fields=tuple(column for column in columns if column[0] in CONTACT_FIELDS),
        variables=tuple(column for column in columns if column[0] not in CONTACT_FIELDS),
        nameless=tuple(index for index, name in enumerate(names) if not name and wanted is None),
        width=len(header),
    )


def _refuse_bad_names(names: Sequence[str]) -> None:
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise unreadable(f"has more than one column for {_shortened(twice[:1])}")
    long = [name for name in names if len(name) > MAX_VARIABLE_NAME_CHARACTERS]
    if long:
        raise unreadable(
            f"the column name {_shortened(long[:1])} is longer than {MAX_VARIABLE_NAME_CHARACTERS} characters"
        )


def _has_phone(header: Sequence[str]) -> bool:
    return any(_canonical(cell) == "phone_number" for cell in header)


def _canonical(cell: str) -> str:
    name = cell.strip()
    return _KNOWN.get(re.sub(r"[\s_-]", "", name).lower(), name)


def _shortened(names: Sequence[str]) -> str:
    shortened = [name.strip()[:_SHOWN_CHARACTERS] for name in names[:_SHOWN_COLUMNS]]
    return ", ".join(shortened) + (", …" if len(names) > _SHOWN_COLUMNS else "")
