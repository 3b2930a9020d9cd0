"""Reads contacts from a CSV file: bytes go in; contacts, and reports of the rows that are none, come out one at a time.

The column `phone` or `phone_number` is required; the other CONTACT_FIELDS are known; every other column becomes a
variable of the name that the header gives it. Known names are read in any case, with spaces, hyphens and underscores or
without. Cells are read without the spaces around them, and an empty one counts as absent. Cells missing at the end of a
row are empty; cells beyond the header, or under an empty name in it, must be. Nothing is stored and nothing is compared
with other rows here.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from dialer.domain.calling_rules import EVERYTHING, CallingRules
from dialer.domain.contact import CONTACT_FIELDS, MAX_VARIABLE_NAME_CHARACTERS, NewContact, parse_contact
from dialer.errors import InvalidInput
from dialer.service.csv_reader import Readable, read_rows, refusal

_KNOWN = {field.replace("_", ""): field for field in CONTACT_FIELDS} | {"phone": "phone_number"}
_SHOWN_COLUMNS = 10
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that was passed over. `row` is the line in which it begins, as an editor counts."""

    row: int
    phone_number: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which column holds what."""

    fields: tuple[tuple[str, int], ...]
    variables: tuple[tuple[str, int], ...]
    nameless: tuple[int, ...]
    width: int


def read_contacts(
    stream: Readable,
    *,
    default_region: str | None,
    batch_timezone: str,
    rules: CallingRules = EVERYTHING,
    columns: Collection[str] | None = None,
) -> Iterator[NewContact | RowError]:
    """Yield a contact or a RowError for each row that is not blank.

    `columns`: only these are read, by their names in lower case, and nothing is refused for what others hold.
    Raises UnreadableFile while iterating, possibly after many rows: store them in one transaction.
    """
    rows = read_rows(stream, _has_phone)
    layout = _read_header(next(rows, None), columns)
    for line, cells in rows:
        padded = (cells if columns is None else cells[: layout.width]) + [""] * (layout.width - len(cells))
        try:
            fields, variables = _read_row(layout, padded)
            yield parse_contact(
                fields, variables, default_region=default_region, batch_timezone=batch_timezone, rules=rules
            )
        except InvalidInput as error:
            yield RowError(line, _phone_shown(layout, padded), str(error))


def _read_row(layout: _Layout, cells: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return a row's fields and variables."""
    for index in (*layout.nameless, *range(layout.width, len(cells))):
        if cells[index].strip():
            raise InvalidInput.of("row", f"has a value in column {index + 1}, which the header does not name")
    fields = {field: cells[index] for field, index in layout.fields}
    variables = {name: value for name, index in layout.variables if (value := cells[index].strip())}
    return fields, variables


def _phone_shown(layout: _Layout, cells: Sequence[str]) -> str | None:
    return cells[dict(layout.fields)["phone_number"]].strip()[:_SHOWN_CHARACTERS] or None


def _read_header(row: tuple[int, list[str]] | None, wanted: Collection[str] | None) -> _Layout:
    if row is None:
        raise refusal("is empty")
    header = row[1]
    names = [_canonical(cell) for cell in header]
    if "phone_number" not in names:
        raise refusal(f"has no column phone or phone_number; its columns are {_shown(header)}")
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
        raise refusal(f"has more than one column for {_shown(twice[:1])}")
    long = [name for name in names if len(name) > MAX_VARIABLE_NAME_CHARACTERS]
    if long:
        raise refusal(f"the column name {_shown(long[:1])} is longer than {MAX_VARIABLE_NAME_CHARACTERS} characters")


def _has_phone(header: Sequence[str]) -> bool:
    return any(_canonical(cell) == "phone_number" for cell in header)


def _canonical(cell: str) -> str:
    name = cell.strip()
    return _KNOWN.get(re.sub(r"[\s_-]", "", name).lower(), name)


def _shown(names: Sequence[str]) -> str:
    shown = [name.strip()[:_SHOWN_CHARACTERS] for name in names[:_SHOWN_COLUMNS]]
    return ", ".join(shown) + (", …" if len(names) > _SHOWN_COLUMNS else "")
