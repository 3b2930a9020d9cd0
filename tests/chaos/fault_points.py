"""Fault points: every SQL statement and commit, every Redis command, and every request to a network.

Hooks in the drivers find them, so that a new statement or command is a fault point without being listed here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import psycopg
import redis
from pendulum import DateTime
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from chaos.monitor import Monitor
from chaos.turn_scheduler import Actor
from dialer.domain.timeouts import PLACE_SECONDS
from dialer.errors import Unavailable
from dialer.providers.base import (
    TOO_LATE,
    CallHandle,
    CallRequest,
    LookupFailed,
    LookupResult,
    OnEvents,
    OnLinkState,
    Placement,
    Unclear,
)
from dialer.providers.simulator import SimulatedNetwork
from dialer.store.database import Database, Timeouts, set_now
from dialer.wiring import STEPS

# The SQLSTATE of these faults. Postgres itself raises them, so that the error takes the real path through the driver.
SQLSTATES = {"serialization": "40001", "deadlock": "40P01"}
CLAIM_LOCK_TIMEOUT = "'400ms'"
LOCK_SECONDS = 0.02


@cache
def _abbreviated(statement: str) -> str:
    return " ".join(statement.split())[:60]


class InstrumentedDatabase(Database):
    """A process's own connections to Postgres. Every statement and every commit is a fault point."""

    def __init__(self, url: str, actor: Actor, monitor: Monitor, clock: Callable[[], DateTime]) -> None:
        super().__init__(url, pool_size=2, virtual_now=clock)
        self._actor, self._monitor, self._clock = actor, monitor, clock
        event.listen(self._engine, "before_cursor_execute", self._before, retval=True)
        event.listen(self._engine, "after_cursor_execute", lambda *_: actor.executed())
        event.listen(self._engine, "handle_error", self._failed)
        # Terminate the session of a killed process at once. Postgres would notice it at a time that no seed decides.
        event.listen(self._engine, "invalidate", lambda session, *_: monitor.terminate(session.info.backend_pid))

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with super().begin() as connection:
            yield connection
            if self._fault_point("commit") == "cut":
                self._monitor.terminate(connection.connection.dbapi_connection.info.backend_pid)  # type: ignore[union-attr]
        self._actor.has_lock_timeout = False
        if self._actor.fault_point("committed") == "cut":
            raise Unavailable("the connection was lost before the commit was confirmed")

    def _before(self, connection: Connection, cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        if "'dialer.now'" in statement:
            return statement, parameters
        fault = self._fault_point(_abbreviated(statement))
        backend = cursor.connection.info.backend_pid
        if self._actor.scheduler:
            # The database's clock moves within a transaction, as the real one does.
            set_now(connection, self._clock())
        if fault == "cut":
            self._monitor.terminate(backend)
        elif fault in SQLSTATES:
            statement, parameters = f"DO $$BEGIN RAISE 'injected' USING ERRCODE = '{SQLSTATES[fault]}'; END$$", {}
        if self._actor.scheduler and CLAIM_LOCK_TIMEOUT in statement:
            # The scheduler decides when the lock timeout of a claim expires: real time must not decide anything.
            statement = statement.replace(CLAIM_LOCK_TIMEOUT, "'0'")
            self._actor.has_lock_timeout = True
        self._actor.executing(backend)
        return statement, parameters

    def _fault_point(self, what: str) -> str | None:
        """Return the fault at this point. A transaction that was idle for too long is cancelled, as by Postgres, which
        does not know the virtual time.
        """
        began_at = self._clock()
        fault = self._actor.fault_point(what)
        return "cut" if (self._clock() - began_at).total_seconds() > STEPS.idle_seconds else fault

    def _failed(self, context: Any) -> None:
        self._actor.has_lock_timeout = False
        self._actor.executed()
        error = context.original_exception
        if (
            isinstance(error, psycopg.errors.DeadlockDetected)
            and self._actor.scheduler
            and "injected" not in str(error)
        ):
            self._actor.scheduler.violations.append(f"deadlock: {self._actor.activity}, {context.statement}")
        if self._actor.was_timed_out and isinstance(error, psycopg.errors.QueryCanceled):
            self._actor.was_timed_out = False
            timeout = psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")
            raise OperationalError(context.statement, context.parameters, timeout)


class ShortTimeoutDatabase(Database):
    """Connections with a short lock timeout: with virtual time, a lock that is not free at once is never released."""

    def __init__(self, url: str, *, virtual_now: Callable[[], DateTime]) -> None:
        super().__init__(url, timeouts=Timeouts(LOCK_SECONDS, idle_seconds=0), virtual_now=virtual_now)
        event.listen(self._engine, "before_cursor_execute", self._shorten_timeout, retval=True)

    def _shorten_timeout(self, _: Connection, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
        return statement.replace(CLAIM_LOCK_TIMEOUT, f"'{round(LOCK_SECONDS * 1000)}ms'"), parameters


class InstrumentedConnection(redis.Connection):
    """A process's own connection to Redis. Every command or pipeline is a fault point."""

    def __init__(self, *arguments: Any, actor: Actor, **options: Any) -> None:
        self._actor = actor
        self._fault: str | None = None
        self._is_connecting = False
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]

    def connect(self) -> None:
        self._is_connecting = True
        try:
            super().connect()  # type: ignore[no-untyped-call]
        finally:
            self._is_connecting = False

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if not self._is_connecting:
            self._fault = self._actor.fault_point("redis")
            if self._fault == "refuse":
                self.disconnect()  # type: ignore[no-untyped-call]
                raise redis.ConnectionError("refused, injected")
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        answer = super().read_response(*arguments, **options)
        if not self._is_connecting and self._fault == "answer lost":
            self._fault = None
            self.disconnect()  # type: ignore[no-untyped-call]
            raise redis.TimeoutError("the answer was lost, injected")
        return answer


def instrumented_redis(url: str, actor: Actor) -> redis.Redis:
    """Return a client whose commands are fault points. It retries once, as the engine's own client does."""
    pool = redis.ConnectionPool.from_url(
        url, connection_class=InstrumentedConnection, actor=actor, decode_responses=True, retry=Retry(NoBackoff(), 1)
    )
    return redis.Redis(connection_pool=pool)


class InstrumentedProvider:
    """A process's connection to a network in memory. Every request is a fault point."""

    def __init__(
        self,
        network: Callable[[], SimulatedNetwork],
        actor: Actor,
        clock: Callable[[], DateTime],
        late: "LateRequests",
        departed: "DepartedRequests",
        own_clock: Callable[[], DateTime],
    ) -> None:
        self._network, self._actor, self._clock, self._late = network, actor, clock, late
        self._departed, self._own_clock = departed, own_clock

    async def place(self, request: CallRequest) -> Placement:
        # Every adapter checks the deadline just before it sends the request.
        if self._own_clock() >= request.leave_by:
            return TOO_LATE
        self._departed.append((request.to_number, self._clock()))
        began_at = self._clock()
        fault = self._actor.fault_point("place")
        if fault == "late":
            # The request arrives, but only after the timeout.
            self._late.append((self._network(), request))
            return Unclear("the network did not answer")
        placement = self._network().place(request, self._clock())
        if fault == "raise":
            raise RuntimeError("the provider broke its contract, injected")
        if fault == "answer lost" or (self._clock() - began_at).total_seconds() > PLACE_SECONDS:
            return Unclear("the network did not answer")
        return placement

    async def look_up(self, call: CallHandle) -> LookupResult:
        if self._actor.fault_point("look up") in ("answer lost", "raise"):
            return LookupFailed("the network did not answer")
        return self._network().look_up(call.attempt_id, self._clock())

    async def hang_up(self, call: CallHandle) -> None:
        if self._actor.fault_point("hang up") not in ("answer lost", "raise"):
            self._network().hang_up(call.attempt_id, self._clock())

    async def health(self) -> str | None:
        return None

    async def listen(self, hand_over: OnEvents, linked: OnLinkState) -> None:
        """Return at once: the listeners of the scenario fetch the call events."""

    async def close(self) -> None:
        """Do nothing: no connection is held."""


LateRequests = list[tuple[SimulatedNetwork, CallRequest]]
DepartedRequests = list[tuple[str, DateTime]]
