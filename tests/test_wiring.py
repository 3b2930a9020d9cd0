"""The API uses the database's clock, even when this machine's clock is wrong; secrets of trunks may be in files."""

from dataclasses import dataclass, field
from pathlib import Path

import pendulum
import pytest
from pendulum import DateTime

from dialer.errors import Unavailable
from dialer.settings import Settings
from dialer.store.database import Database
from dialer.wiring import REREAD_SECONDS, LedgerClock, secret_of
from support.deadline import wait_until

NOON = pendulum.datetime(2026, 3, 2, 12)


@dataclass
class Ledger(Database):
    """A database of which only the clock is used."""

    times: list[DateTime | None] = field(default_factory=list)

    def now(self) -> DateTime:
        at = self.times.pop(0)
        if at is None:
            raise Unavailable("Postgres does not answer")
        return at


def test_the_ledgers_clock_goes_on_by_itself_and_is_read_again_every_few_seconds() -> None:
    passed = [0.0]
    ledger = Ledger([NOON, None, NOON.add(hours=1)])
    clock = LedgerClock(ledger, lambda: passed[0])
    assert clock() == NOON
    passed[0] = REREAD_SECONDS
    assert clock() == NOON.add(seconds=REREAD_SECONDS)
    assert len(ledger.times) == 2
    # Postgres is unavailable the first time, so the clock continues from the last reading.
    passed[0] = REREAD_SECONDS + 1
    assert clock() == NOON.add(seconds=REREAD_SECONDS + 1)
    wait_until(lambda: len(ledger.times) == 1)
    wait_until(lambda: clock() == NOON.add(hours=1))


def test_a_secret_of_a_trunk_may_be_in_a_file_which_only_the_workspaces_of_its_variable_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    monkeypatch.setenv("TRUNK_TOKEN_FILE", str(file))
    settings = Settings(secret_env=("TRUNK_TOKEN@acme",))
    assert secret_of(settings, "acme")("env:TRUNK_TOKEN") == "s3cret"
    with pytest.raises(Unavailable, match="must refer to an environment variable"):
        secret_of(settings, "default")("env:TRUNK_TOKEN")
    file.unlink()
    with pytest.raises(Unavailable, match=r"TRUNK_TOKEN_FILE: the file cannot be read: No such file") as refused:
        secret_of(settings, "acme")("env:TRUNK_TOKEN")
    assert str(tmp_path) not in str(refused.value)
