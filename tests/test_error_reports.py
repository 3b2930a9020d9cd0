"""What is sent to Sentry: errors of the log with their tracebacks, without telephone numbers; nothing without a DSN."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
import structlog
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from dialer import error_reports, log

NUMBER = "+4915112345678"
logger = structlog.get_logger()
sent: list[Any] = []


class Collected(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        sent.append(envelope.get_event())


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    configured = structlog.get_config()
    sent.clear()
    yield
    structlog.configure(**configured)
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


def test_errors_are_sent_with_their_tracebacks_and_without_numbers() -> None:
    log.configure("json", "info")
    end = error_reports.start("http://key@127.0.0.1:1/1", "worker", "1.2", Collected)
    logger.warning("trunk is failing", reason=NUMBER)
    logger.error("report in quarantine", reason=f"no route to {NUMBER}", report_id=7)
    try:
        raise ValueError(NUMBER)
    except ValueError:
        logger.exception("scheduled work failed")
    end()
    logger.error("after the end")
    first, second = sent
    assert (first["message"], first["release"], first["tags"]) == (
        "report in quarantine",
        "dialer@1.2",
        {"process": "worker"},
    )
    assert first["contexts"]["log"]["reason"] == "no route to +…78"
    (error,) = second["exception"]["values"]
    assert (error["type"], error["value"]) == ("ValueError", "+…78")
    assert NUMBER[1:] not in json.dumps(sent, default=str)


def test_without_a_dsn_nothing_is_sent() -> None:
    log.configure("json", "info")
    error_reports.start(None, "worker", "1.2", Collected)()
    logger.error("report in quarantine")
    assert sent == []
