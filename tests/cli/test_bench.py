"""`dialer bench`: how it is called. Its figures are tested in tests/bench."""

import json
from pathlib import Path

from cli.conftest import Dialer


def test_it_prints_a_table_of_each_figure_and_writes_them_as_json(dialer: Dialer, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    result = dialer("bench", "tick", "--quick", "--json", str(file))
    assert result.code == 0
    assert "active_batches  due  tick_ms" in result.out
    assert list(json.loads(file.read_text())["figures"]) == ["tick"]


def test_an_unknown_figure_is_wrong_usage(dialer: Dialer) -> None:
    result = dialer("bench", "speed")
    assert result.code == 2
    assert "there is no figure speed" in result.err
