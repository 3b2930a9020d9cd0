"""Sends webhook messages: signed, once each, to addresses that are public or that the machine's owner allows.

In: an endpoint and its messages. Out: an answer for each message that was sent, with a reason where it failed. One
event loop in a thread; connections are kept alive. Redirects are not followed, and a response is read in part at most.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from threading import Lock, Thread

import structlog
from pendulum import DateTime

from dialer.domain.webhook import Answer, Message, Target
from dialer.providers.egress import Egress
from dialer.providers.http.signing import Signer
from dialer.providers.http_client import HttpClient, HttpFailure, HttpResponse

TIMEOUT_SECONDS = 10.0
MAX_CONNECTIONS = 256
MAX_REASON = 500

log = structlog.get_logger()
# The scheme alone: the client loads the CA certificates.
HTTPS = "https:"


class WebhookClient:
    """The connections to all endpoints. Nothing is opened until something is sent.

    `egress`: where it may connect to. `clock`: the time in signatures, which receivers compare with theirs.
    """

    def __init__(self, egress: Egress, clock: Callable[[], DateTime], timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._clock, self._timeout_seconds = clock, timeout_seconds
        self._http = HttpClient(
            HTTPS,
            timeout_seconds=timeout_seconds,
            egress=egress,
            headers={"Content-Type": "application/json", "User-Agent": "Dialer-Webhooks/1"},
            max_connections=MAX_CONNECTIONS,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = Lock()
        self._sending = set[Future[dict[int, Answer]]]()
        self._is_closed = False

    def send_all(self, target: Target, messages: Sequence[Message], at_once: int) -> dict[int, Answer]:
        """Send messages to one endpoint in their order, so many at once; return the answers by position.

        Messages that have not been begun after the timeout of one are left out. Takes at most twice that. A client that
        is closed sends nothing, and forgets what it is sending.
        """
        with self._starting:
            if self._is_closed:
                return {}
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                Thread(target=_serve, args=(self._loop,), name="webhook-client", daemon=True).start()
            sending = asyncio.run_coroutine_threadsafe(self._send_all(target, messages, at_once), self._loop)
            self._sending.add(sending)
        try:
            return sending.result()
        except CancelledError:
            return {}
        finally:
            self._sending.discard(sending)

    def close(self) -> None:
        """Cancel what is being sent, close all connections and stop the event loop. Called twice: the same."""
        with self._starting:
            is_closed, self._is_closed = self._is_closed, True
        if self._loop is None or is_closed:
            return
        for sending in list(self._sending):
            sending.cancel()
        asyncio.run_coroutine_threadsafe(self._http.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _send_all(self, target: Target, messages: Sequence[Message], at_once: int) -> dict[int, Answer]:
        loop, answers = asyncio.get_running_loop(), dict[int, Answer]()
        begin_until, waiting = loop.time() + self._timeout_seconds, iter(messages)

        async def send_some() -> None:
            for message in waiting:
                if loop.time() >= begin_until:
                    return
                answers[message.position] = await self._send(target, message)

        await asyncio.gather(*(send_some() for _ in range(min(at_once, len(messages)))))
        return answers

    async def _send(self, target: Target, message: Message) -> Answer:
        try:
            body = message.body
            headers = _signed(target.secrets, str(message.id), self._clock(), body)
            return _answer(await self._http.send("POST", target.url, headers=headers, content=body))
        except Exception as error:
            # A message that cannot be sent must not stop the others.
            log.exception("webhook message not sent", endpoint_id=str(target.id), message_id=str(message.id))
            return Answer(None, f"it could not be sent ({type(error).__name__})")


def _signed(secrets: Sequence[str], message_id: str, now: DateTime, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks, with a signature for each secret."""
    signed = [Signer(secret).headers(message_id, now, body) for secret in secrets]
    return signed[0] | {"webhook-signature": " ".join(headers["webhook-signature"] for headers in signed)}


def _answer(response: HttpResponse | HttpFailure) -> Answer:
    match response:
        case HttpResponse(status) if 200 <= status < 300:
            return Answer(status, None)
        case HttpResponse(status) if 300 <= status < 400:
            return Answer(status, f"it answered {status}, and redirects are not followed")
        case HttpResponse(status):
            return Answer(status, f"it answered {status}")
        case HttpFailure(reason=reason, partial=partial):
            return Answer(partial.status if partial else None, reason[:MAX_REASON])


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()
