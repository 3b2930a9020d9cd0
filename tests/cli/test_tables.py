"""How lists are printed: within the width of a terminal, and whole in a pipe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from dialer.cli.tables import table_lines

COLUMNS = ("id", "name", "counts.total", "created_at=created")
ROW = {
    "id": "019cad8f-ac00-7d8e-91b7-584a2265b1f5",
    "name": "A batch of contacts who bought something last spring",
    "counts": {"total": 12},
    "created_at": "2026-03-02T09:00:00.123Z",
}


@pytest.fixture(autouse=True)
def without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def test_on_a_terminal_ids_are_short_times_too_and_long_texts_are_cut() -> None:
    assert list(table_lines([ROW], COLUMNS, 60)) == [
        "id        name                       total  created",
        "2265b1f5  A batch of contacts who …  12     2026-03-02 09:00",
    ]


def test_in_a_pipe_nothing_is_cut() -> None:
    _, line = table_lines([ROW], COLUMNS, None)
    assert line.split(maxsplit=1)[0] == ROW["id"]
    assert f"  {ROW['name']}  " in line
    assert line.endswith(str(ROW["created_at"]))


@given(st.lists(st.text(st.sampled_from("ab 電話🙂é\u0301\n"), max_size=90), max_size=3), st.integers(40, 120))
def test_no_line_is_wider_than_the_terminal_which_shows_some_characters_wider(names: list[str], width: int) -> None:
    rows = [ROW | {"name": name} for name in names]
    lines = list(table_lines(rows, COLUMNS, width))
    assert all(cell_len(line) <= max(width, 46) for line in lines)
    assert all(line.endswith("  2026-03-02 09:00") for line in lines[1:]), "no time is cut"
    assert len({cell_len(line.rpartition("  ")[0]) for line in lines}) == 1
    assert len(lines) == 1 + len(names)
    assert all(line.isprintable() for line in lines)
