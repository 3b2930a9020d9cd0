"""`dialer bench`: which figures it takes. What they contain is tested in tests/bench."""

from cli.conftest import Dialer


def test_an_unknown_figure_is_wrong_usage(dialer: Dialer) -> None:
    result = dialer("bench", "speed")
    assert result.code == 2
    assert "there is no figure speed" in result.err
