"""What is logged to standard error: one line an entry, in the configured format, without phone numbers."""

import json
import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import structlog

from dialer import log
from dialer.providers.egress import AddressRefused, Egress

NUMBER = "+4915112345678"
BATCH = UUID("0198c0de-0000-7000-8000-000000000001")

logger = structlog.get_logger()


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers, configured = root.level, root.handlers[:], structlog.get_config()
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    structlog.configure(**configured)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_each_event_is_one_json_line_with_its_fields_level_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")
    logger.info("batch started", batch_id=BATCH, contacts=3)
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "batch started", "level": "info", "batch_id": str(BATCH), "contacts": 3}


def test_libraries_log_in_the_same_format_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "debug")
    logging.getLogger("some.library").info("every connection")
    logging.getLogger("some.library").warning("lost %s", "the connection")
    (line,) = lines(capsys)
    assert (line["event"], line["level"]) == ("lost the connection", "warning")


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "error")
    logger.warning("settle could not be asked")
    logging.getLogger("some.library").warning("lost the connection")
    logger.error("listening failed")
    assert [line["event"] for line in lines(capsys)] == ["listening failed"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_telephone_numbers_are_masked_wherever_they_stand(log_format: Any, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(log_format, "info")
    logger.info(f"called {NUMBER}", to=NUMBER, many=[NUMBER, (NUMBER,)], deep={"contact": {"phone": NUMBER}})
    logger.info("refused", error=ValueError(f"no route to {NUMBER}"), url=f"https://voice.example/?To=%2B{NUMBER[1:]}")
    logging.getLogger("some.library").warning("cannot reach %s", NUMBER)
    try:
        raise ValueError(NUMBER)
    except ValueError:
        logger.exception("placing failed")
    written = capsys.readouterr().err
    assert written.count("…78") >= 8
    assert NUMBER[1:] not in written
    assert NUMBER[1:-2] not in written


def test_ids_and_times_are_not_taken_for_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")
    logger.info("tick", batch_id=str(BATCH), at="2026-03-02T08:00:00+01:00", count=4915112345678)
    (line,) = lines(capsys)
    assert (line["batch_id"], line["at"], line["count"]) == (str(BATCH), "2026-03-02T08:00:00+01:00", 4915112345678)


def test_the_console_shows_tracebacks_in_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("console", "info")
    try:
        raise ValueError("what went wrong")
    except ValueError:
        logger.exception("listening failed")
    written = capsys.readouterr().err
    assert "listening failed" in written
    assert "Traceback (most recent call last)" in written
    assert "ValueError: what went wrong" in written


async def test_the_owner_reads_which_address_a_trunk_was_refused(capsys: pytest.CaptureFixture[str]) -> None:
    async def open_at(_: str) -> None:
        raise AssertionError

    log.configure("json", "info")
    with pytest.raises(AddressRefused) as refused:
        await Egress().connect("127.0.0.99", 22, 5, open_at)
    # The second attempt is not logged.
    with pytest.raises(AddressRefused):
        await Egress().connect("127.0.0.99", 22, 5, open_at)
    (line,) = lines(capsys)
    assert (line["event"], line["host"]) == ("address of a trunk refused", "127.0.0.99")
    assert line["addresses"] == ["127.0.0.99"]
    assert "127" not in str(refused.value)
