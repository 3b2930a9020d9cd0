"""Where processes touch the world: every statement and commit, every command to Redis, every question to a network.

The touches are found by hooks in the drivers and not listed, so that a new one is met without being named here.
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
from chaos.stage import Actor
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

# What Postgres says of itself in these faults; it is made to say it, so that the way of the error is the real one.
SAID = {"serialization": "40001", "deadlock": "40P01"}
CLAIM_PATIENCE = "'400ms'"
LOCK_SECONDS = 0.02


@cache
def _shortly(statement: str) -> str:
    return " ".join(statement.split())[:60]


class StagedDatabase(Database):
    """A process's own connections to Postgres. On the stage every statement and every commit is a touch."""

    def __init__(self, url: str, actor: Actor, monitor: Monitor, clock: Callable[[], DateTime]) -> None:
        super().__init__(url, pool_size=2, virtual_now=clock)
        self._actor, self._monitor, self._clock = actor, monitor, clock
        event.listen(self._engine, "before_cursor_execute", self._before, retval=True)
        event.listen(self._engine, "after_cursor_execute", lambda *_: actor.executed())
        event.listen(self._engine, "handle_error", self._failed)
        # A session whose process died ends at once, not when Postgres has noticed: its locks are the story's matter.
        event.listen(self._engine, "invalidate", lambda session, *_: monitor.cut(session.info.backend_pid))

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with super().begin() as connection:
            yield connection
            if self._actor.touch("commit") == "cut":
                self._monitor.cut(connection.connection.dbapi_connection.info.backend_pid)  # type: ignore[union-attr]
        self._actor.is_patient = False
        if self._actor.touch("committed") == "cut":
            raise Unavailable("the connection was lost before the commit was confirmed")

    def _before(self, connection: Connection, cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        if "'dialer.now'" in statement:
            return statement, parameters
        fault = self._actor.touch(_shortly(statement))
        backend = cursor.connection.info.backend_pid
        if self._actor.stage:
            # The ledger's clock goes on within a transaction, as the real one does.
            set_now(connection, self._clock())
        if fault == "cut":
            self._monitor.cut(backend)
        elif fault in SAID:
            statement, parameters = f"DO $$BEGIN RAISE 'as told' USING ERRCODE = '{SAID[fault]}'; END$$", {}
        if self._actor.stage and CLAIM_PATIENCE in statement:
            # The stage itself says when the time of a claim is over: real time has no part in a story.
            statement = statement.replace(CLAIM_PATIENCE, "'0'")
            self._actor.is_patient = True
        self._actor.executing(backend)
        return statement, parameters

    def _failed(self, context: Any) -> None:
        self._actor.is_patient = False
        self._actor.executed()
        said = context.original_exception
        if isinstance(said, psycopg.errors.DeadlockDetected) and self._actor.stage and "as told" not in str(said):
            self._actor.stage.broken.append(f"deadlock: {self._actor.doing}, {context.statement}")
        if self._actor.was_timed_out and isinstance(said, psycopg.errors.QueryCanceled):
            self._actor.was_timed_out = False
            gave_up = psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")
            raise OperationalError(context.statement, context.parameters, gave_up)


class HurriedDatabase(Database):
    """Connections of a world in which nobody is slow: a lock that is not free at once is one that somebody keeps."""

    def __init__(self, url: str, *, virtual_now: Callable[[], DateTime]) -> None:
        super().__init__(url, timeouts=Timeouts(LOCK_SECONDS, idle_seconds=0), virtual_now=virtual_now)
        event.listen(self._engine, "before_cursor_execute", self._hurry, retval=True)

    def _hurry(self, _: Connection, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
        return statement.replace(CLAIM_PATIENCE, f"'{round(LOCK_SECONDS * 1000)}ms'"), parameters


class StagedConnection(redis.Connection):
    """A process's own connection to Redis. On the stage every command, or pipeline of them, is a touch."""

    def __init__(self, *arguments: Any, actor: Actor, **options: Any) -> None:
        self._actor = actor
        self._fault: str | None = None
        self._greeting = False
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]

    def connect(self) -> None:
        self._greeting = True
        try:
            super().connect()  # type: ignore[no-untyped-call]
        finally:
            self._greeting = False

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if not self._greeting:
            self._fault = self._actor.touch("redis")
            if self._fault == "refuse":
                self.disconnect()  # type: ignore[no-untyped-call]
                raise redis.ConnectionError("refused, as told")
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        answer = super().read_response(*arguments, **options)
        if not self._greeting and self._fault == "answer lost":
            self._fault = None
            self.disconnect()  # type: ignore[no-untyped-call]
            raise redis.TimeoutError("the answer was lost, as told")
        return answer


def staged_redis(url: str, actor: Actor) -> redis.Redis:
    """A client whose commands are touches. It asks twice at most, as the engine's own does."""
    pool = redis.ConnectionPool.from_url(
        url, connection_class=StagedConnection, actor=actor, decode_responses=True, retry=Retry(NoBackoff(), 1)
    )
    return redis.Redis(connection_pool=pool)


class StagedProvider:
    """A process's way to a network in memory. On the stage every question is a touch."""

    def __init__(
        self,
        network: Callable[[], SimulatedNetwork],
        actor: Actor,
        clock: Callable[[], DateTime],
        late: "Late",
        departed: "Departed",
        own_clock: Callable[[], DateTime],
    ) -> None:
        self._network, self._actor, self._clock, self._late = network, actor, clock, late
        self._departed, self._own_clock = departed, own_clock

    async def place(self, request: CallRequest) -> Placement:
        # As every adapter asks just before the bytes leave.
        if self._own_clock() >= request.leave_by:
            return TOO_LATE
        self._departed.append((request.to_number, self._clock()))
        began = self._clock()
        fault = self._actor.touch("place")
        if fault == "late":
            # The request is under way for longer than anyone waits, and arrives after all.
            self._late.append((self._network(), request))
            return Unclear("the network did not answer")
        said = self._network().place(request, self._clock())
        if fault == "raise":
            raise RuntimeError("the provider broke its contract, as told")
        if fault == "answer lost" or (self._clock() - began).total_seconds() > PLACE_SECONDS:
            return Unclear("the network did not answer")
        return said

    async def look_up(self, call: CallHandle) -> LookupResult:
        if self._actor.touch("look up") in ("answer lost", "raise"):
            return LookupFailed("the network did not answer")
        return self._network().look_up(call.attempt_id, self._clock())

    async def hang_up(self, call: CallHandle) -> None:
        if self._actor.touch("hang up") not in ("answer lost", "raise"):
            self._network().hang_up(call.attempt_id, self._clock())

    async def health(self) -> str | None:
        return None

    async def listen(self, hand_over: OnEvents, linked: OnLinkState) -> None:
        """Return at once: the story's listeners fetch the reports."""

    async def close(self) -> None:
        """Nothing is held."""


Late = list[tuple[SimulatedNetwork, CallRequest]]
Departed = list[tuple[str, DateTime]]
