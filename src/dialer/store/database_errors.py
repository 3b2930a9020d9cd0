"""Errors of Postgres: which pass by themselves, which are due to a row, and how the values of rows stay out of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from dialer.errors import Contended, DialerError, Unavailable, Unfit

# SQLSTATE of a serialization failure, a deadlock, and a lock timeout.
CONTENTION = {"40001", "40P01", "55P03"}
FOREIGN_KEY = "23503"
# Classes of SQLSTATE. The server cannot be reached or stops: connection, resources, operator intervention.
AWAY = {"08", "53", "57"}
# The database does not fit this release for now: prepared plans (0A, 26), a transaction that may not write
# after a failover (25), rights (28), names and columns (3D, 3F, 42), an object in another state (55), the disk (58).
UNFIT = {"0A", "25", "26", "28", "3D", "3F", "42", "55", "58"}
# The values of a row itself: conversion, constraints, limits of size.
DATA = {"22", "23", "54"}
# Of those, the classes whose first line contains a value: invalid input syntax for type integer: "…".
VALUES_IN_MESSAGE = {"22", "54"}


@contextmanager
def judged() -> Iterator[None]:
    """Raise Contended or Unavailable in place of an error that passes by itself."""
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("Every connection to Postgres is in use") from error
    except DBAPIError as error:
        if passing := _passing(error):
            raise passing from error
        raise


def data_error(error: Exception) -> str | None:
    """Return the SQLSTATE, or the driver's name, of an error in a row's own values; None: it is another error."""
    if not isinstance(error, DBAPIError):
        return None
    state = _state(error.orig)
    if state is None:
        return type(error.orig).__name__ if isinstance(error.orig, psycopg.DataError) else None
    return state if state[:2] in DATA else None


def _passing(error: DBAPIError) -> DialerError | None:
    """Return Contended or Unavailable for an error that passes by itself; None: the rows may be to blame."""
    state, line = _state(error.orig), _first_line(error)
    if state == FOREIGN_KEY:
        # The row existed when it was looked up and was deleted since: a retry finds out.
        return Contended(f"What this refers to was deleted just now: {line}")
    if state in CONTENTION:
        return Contended(f"Another transaction is in the way: {line}")
    if state is None:
        is_away = isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError)
        return Unavailable(f"Postgres does not answer: {line}") if is_away else None
    if state[:2] in AWAY:
        return Unavailable(f"Postgres does not answer: {line}")
    if state[:2] in UNFIT:
        return Unfit(f"The database cannot do this as it is now: {line} (SQLSTATE {state})")
    return None


@contextmanager
def forgetting_values() -> Iterator[None]:
    """Remove row values from the driver's errors, for statements that do not pass through SQLAlchemy."""
    try:
        yield
    except psycopg.Error as error:
        _forget_values_of(error)
        raise


def forget_values(context: ExceptionContext) -> None:
    error, shown = context.original_exception, context.sqlalchemy_exception
    if isinstance(error, psycopg.Error):
        _forget_values_of(error)
        if shown is not None:
            shown.args = (f"({type(error).__module__}.{type(error).__name__}) {error}",)


def _forget_values_of(error: psycopg.Error) -> None:
    """Keep the message and drop the row, which Postgres repeats in DETAIL and CONTEXT: it contains names and phone
    numbers, and errors end up in logs.
    """
    if error.sqlstate is None:
        return
    is_of_values = error.sqlstate[:2] in VALUES_IN_MESSAGE
    error.args = ((None if is_of_values else error.diag.message_primary) or f"{type(error).__name__}",)


def leave_unfit(context: ExceptionContext) -> None:
    """Close a connection that does not fit the database any more: it may have prepared plans of an older schema, or
    lead to a server that was the primary before a failover.
    """
    state = _state(context.original_exception)
    if state is not None and state not in CONTENTION and state[:2] in UNFIT:
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False


def _state(error: BaseException | None) -> str | None:
    return error.sqlstate if isinstance(error, psycopg.Error) else None


def _first_line(error: DBAPIError) -> str:
    return (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]
