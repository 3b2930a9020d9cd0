"""The Celery app: tick finds contacts, call places one call, ended takes its result.

Settings are environment variables that begin with BASELINE_.
"""

import json
import os
import time
from functools import cache
from typing import Any
from uuid import uuid4

import psycopg
import redis
from celery import Celery

from benchmarks.baseline.names import EMPTY_TASK, RETRYABLE, TRUNK, slots_key
from benchmarks.baseline.network import Network, NetworkError

FROM_NUMBER = "+12025550191"
TICK_SECONDS = 1.0
# When a call that found no slot, or that the network refused, is tried again.
AGAIN_SECONDS = 1.0

app = Celery("baseline", broker=os.environ["BASELINE_REDIS"])
app.conf.update(
    beat_schedule={"tick": {"task": "tick", "schedule": TICK_SECONDS}},
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)


@cache
def database() -> psycopg.Connection[Any]:
    """Return the connection of this process."""
    return psycopg.connect(os.environ["BASELINE_DATABASE"], autocommit=True)


@cache
def slots() -> redis.Redis:
    """Return the client of this process."""
    return redis.Redis.from_url(os.environ["BASELINE_REDIS"])


@cache
def network() -> Network:
    """Return the connection of this process."""
    address = ("127.0.0.1", int(os.environ["BASELINE_NETWORK_PORT"]))
    return Network(address, TRUNK, json.loads(os.environ["BASELINE_PROFILE"]))


@app.task(name="tick")
def tick() -> None:
    """Enqueue a call for each free slot of each active campaign."""
    campaigns = database().execute(
        """
        SELECT id, max_concurrent FROM campaigns
        WHERE status = 'active' AND now()::time >= start_time AND now()::time < end_time
        """
    )
    for campaign_id, max_concurrent in campaigns.fetchall():
        free = max_concurrent - int(slots().get(slots_key(campaign_id)) or 0)
        for contact_id in take_pending(campaign_id, free):
            call.delay(contact_id)
        complete(campaign_id)


def take_pending(campaign_id: int, count: int) -> list[int]:
    """Take the next contacts of a campaign."""
    taken = database().execute(
        """
        UPDATE contacts SET status = 'queued' WHERE id IN (
            SELECT id FROM contacts WHERE campaign_id = %s AND status = 'pending'
            ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
        RETURNING id
        """,
        [campaign_id, max(0, count)],
    )
    return [contact_id for (contact_id,) in taken.fetchall()]


def complete(campaign_id: int) -> None:
    """Complete a campaign whose contacts are all final."""
    database().execute(
        """
        UPDATE campaigns SET status = 'completed' WHERE id = %s AND NOT EXISTS (
            SELECT 1 FROM contacts WHERE campaign_id = %s AND status IN ('pending', 'queued', 'dialing'))
        """,
        [campaign_id, campaign_id],
    )


@app.task(name="call")
def call(contact_id: int) -> None:
    """Call one contact, if its campaign has a free slot; else try again in a second."""
    found = database().execute(
        """
        SELECT c.phone, c.campaign_id, p.max_concurrent FROM contacts c JOIN campaigns p ON p.id = c.campaign_id
        WHERE c.id = %s AND c.status = 'queued' AND p.status = 'active'
        """,
        [contact_id],
    )
    row = found.fetchone()
    if row is None:
        return
    phone, campaign_id, max_concurrent = row
    key = slots_key(campaign_id)
    if int(slots().get(key) or 0) >= max_concurrent:
        call.apply_async([contact_id], countdown=AGAIN_SECONDS)
        return
    slots().incr(key)
    place(contact_id, phone, key)


def place(contact_id: int, phone: str, key: str) -> None:
    """Store the call and place it. One that the network does not take gives its slot back and is tried again."""
    call_id = uuid4()
    database().execute(
        """
        WITH dialing AS (UPDATE contacts SET status = 'dialing', attempts = attempts + 1 WHERE id = %(contact)s)
        INSERT INTO calls (id, contact_id, status) VALUES (%(call)s, %(contact)s, 'created')
        """,
        {"contact": contact_id, "call": call_id},
    )
    try:
        provider_call_id = network().place(call_id, phone, FROM_NUMBER, time.time())
    except NetworkError:
        slots().decr(key)
        database().execute("UPDATE contacts SET status = 'queued', attempts = attempts - 1 WHERE id = %s", [contact_id])
        call.apply_async([contact_id], countdown=AGAIN_SECONDS)
        return
    database().execute(
        "UPDATE calls SET provider_call_id = %s, status = CASE status WHEN 'ended' THEN status ELSE 'placed' END "
        "WHERE id = %s",
        [provider_call_id, call_id],
    )


@app.task(name="ended")
def ended(call_id: str, outcome: str) -> None:
    """Store the result of a call, give its slot back, and finish its contact or try it again after its delay."""
    closed = database().execute(
        """
        UPDATE calls SET status = 'ended', outcome = %s, ended_at = now() WHERE id = %s AND status <> 'ended'
        RETURNING contact_id
        """,
        [outcome, call_id],
    )
    row = closed.fetchone()
    if row is None:
        return
    (contact_id,) = row
    moved = database().execute(
        """
        UPDATE contacts c SET outcome = %(outcome)s,
            status = CASE WHEN %(retryable)s AND c.attempts <= p.max_retries THEN 'queued' ELSE 'completed' END,
            finished_at = CASE WHEN %(retryable)s AND c.attempts <= p.max_retries THEN NULL ELSE now() END
        FROM campaigns p WHERE c.id = %(contact)s AND p.id = c.campaign_id
        RETURNING c.campaign_id, c.status, p.retry_seconds
        """,
        {"outcome": outcome, "retryable": outcome in RETRYABLE, "contact": contact_id},
    )
    campaign_id, status, retry_seconds = moved.fetchone() or (0, "", 0.0)
    slots().decr(slots_key(campaign_id))
    if status == "queued":
        call.apply_async([contact_id], countdown=retry_seconds)


@app.task(name=EMPTY_TASK)
def nothing() -> None:
    """Do nothing, so that the cost of a task itself can be measured."""
