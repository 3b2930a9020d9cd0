-- Where a workspace wants to hear what happens. `secret`: signs what is sent; `previous_secret` signs it too until
-- `previous_until`, so that a receiver can replace the secret without losing a message.
CREATE TABLE webhook_endpoints (
    id               uuid PRIMARY KEY,
    workspace_id     uuid NOT NULL REFERENCES workspaces,
    url              text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
    events           text[] NOT NULL CHECK (
                         cardinality(events) > 0
                         AND events <@ '{batch.status_changed,batch.completed,call.started,call.ended,contact.finished}'),
    status           text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive')),
    description      text,
    secret           text NOT NULL,
    previous_secret  text,
    previous_until   timestamptz,
    created_at       timestamptz NOT NULL DEFAULT dialer_now(),
    updated_at       timestamptz NOT NULL DEFAULT dialer_now(),
    UNIQUE (workspace_id, url),
    CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);
CREATE TRIGGER touch BEFORE UPDATE ON webhook_endpoints FOR EACH ROW EXECUTE FUNCTION touch();

-- What changes with every delivery. `free_at`: nothing is sent before; a sender has taken the endpoint until then, or it
-- is left alone because it fails. `failures`: in a row, since `failing_since`. `disabled_reason`: why Dialer has set the
-- endpoint inactive.
CREATE TABLE webhook_health (
    endpoint_id      uuid PRIMARY KEY REFERENCES webhook_endpoints ON DELETE CASCADE,
    free_at          timestamptz NOT NULL DEFAULT dialer_now(),
    failures         integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failing_since    timestamptz,
    last_success_at  timestamptz,
    last_failure_at  timestamptz,
    last_error       text,
    disabled_reason  text,
    CHECK ((failures = 0) = (failing_since IS NULL))
);

-- A change of an endpoint by its owner ends the wait for a failing one.
CREATE FUNCTION follow_webhook_endpoint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO webhook_health (endpoint_id) VALUES (NEW.id);
    ELSE
        UPDATE webhook_health
        SET free_at = dialer_now(), failures = 0, failing_since = NULL, disabled_reason = NULL
        WHERE endpoint_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER start_health AFTER INSERT ON webhook_endpoints
    FOR EACH ROW EXECUTE FUNCTION follow_webhook_endpoint();
CREATE TRIGGER reset_health AFTER UPDATE ON webhook_endpoints
    FOR EACH ROW WHEN (NEW.status = 'active') EXECUTE FUNCTION follow_webhook_endpoint();

-- One event for one endpoint. Written in the transaction of the fact, by the triggers below. `id` is sent as webhook-id,
-- the same at every try. `sequence`: set before the first try, without gaps for each endpoint and batch. `retry_until`: it
-- is a dead letter from then on. No foreign keys: a call must not wait for somebody who changes an endpoint; what
-- deleted endpoints leave is removed by retention.
CREATE TABLE webhook_deliveries (
    position         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id               uuid NOT NULL DEFAULT gen_random_uuid(),
    endpoint_id      uuid NOT NULL,
    batch_id         uuid NOT NULL,
    type             text NOT NULL,
    data             jsonb NOT NULL,
    sequence         bigint,
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'dead')),
    attempts         integer NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT dialer_now(),
    due_at           timestamptz NOT NULL DEFAULT dialer_now(),
    retry_until      timestamptz NOT NULL DEFAULT dialer_now() + interval '1 day',
    last_attempt_at  timestamptz,
    response_status  integer,
    error            text,
    finished_at      timestamptz,
    CHECK ((status = 'pending') = (finished_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX webhook_deliveries_to_send ON webhook_deliveries (endpoint_id, due_at, position) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_to_give_up ON webhook_deliveries (retry_until) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_of_endpoint ON webhook_deliveries (endpoint_id, position);
CREATE INDEX webhook_deliveries_finished ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;

-- The last number that an endpoint was given for a batch.
CREATE TABLE webhook_sequences (
    endpoint_id  uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    batch_id     uuid NOT NULL,
    last         bigint NOT NULL,
    PRIMARY KEY (endpoint_id, batch_id)
);

-- The triggers write events for the endpoints of the workspace that have subscribed. Where there is none at all they
-- touch no row; a session that changes data in SQL is heard of like any other.
CREATE FUNCTION is_event_wanted(types text[]) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT 1 FROM webhook_endpoints WHERE status = 'active' AND events && types)
$$;

CREATE FUNCTION note_batch_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT is_event_wanted('{batch.status_changed,batch.completed}') THEN
        RETURN NULL;
    END IF;
    INSERT INTO webhook_deliveries (endpoint_id, batch_id, type, data)
    SELECT e.id, n.id, t.type, jsonb_build_object(
        'batch_id', n.id, 'name', n.name, 'status', n.status, 'previous_status', o.status,
        'status_reason', n.status_reason, 'started_at', n.started_at, 'completed_at', n.completed_at,
        'counts', jsonb_build_object(
            'total', p.total, 'pending', p.pending, 'waiting', p.waiting, 'dialing', p.dialing,
            'completed', p.completed, 'failed', p.failed, 'skipped', p.skipped, 'cancelled', p.cancelled))
    FROM changed_to n JOIN changed_from o USING (id) JOIN batch_progress p ON p.batch_id = n.id
    CROSS JOIN LATERAL (VALUES (1, 'batch.status_changed', n.status <> o.status),
                               (2, 'batch.completed', n.status <> o.status AND n.status = 'completed'))
        AS t (nth, type, is_so)
    JOIN webhook_endpoints e ON e.workspace_id = n.workspace_id AND e.status = 'active' AND t.type = ANY(e.events)
    WHERE t.is_so ORDER BY n.id, t.nth;
    RETURN NULL;
END $$;
-- After follow_batches, by its name, which has locked the rows of batch_progress.
CREATE TRIGGER note_events AFTER UPDATE ON batches
    REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION note_batch_events();

-- A call has started once its network has it, or may have it and says so at its end. Rows are paired by grouping: a join
-- of the two tables of changes could be planned for few rows and then be kept for many.
CREATE FUNCTION note_call_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT is_event_wanted('{call.started,call.ended}') THEN
        RETURN NULL;
    END IF;
    INSERT INTO webhook_deliveries (endpoint_id, batch_id, type, data)
    SELECT e.id, a.batch_id, t.type, jsonb_build_object(
        'batch_id', a.batch_id, 'attempt_id', a.id, 'contact_id', a.contact_id, 'external_id', c.external_id,
        'phone_number', a.to_number, 'from_number', a.from_number, 'status', a.state, 'outcome', a.outcome,
        'cause', a.cause, 'created_at', a.created_at, 'placed_at', a.placed_at, 'ringing_at', a.ringing_at,
        'answered_at', a.answered_at, 'ended_at', a.ended_at, 'talk_seconds', a.talk_seconds,
        'disposition', a.disposition, 'callback_at', a.callback_at)
    FROM (SELECT id, max(was) AS was, max(state) AS state
          FROM (SELECT id, state AS was, NULL AS state FROM changed_from
                UNION ALL SELECT id, NULL, state FROM changed_to) AS versions
          GROUP BY id HAVING max(was) <> max(state)) AS m
    JOIN attempts a ON a.id = m.id JOIN contacts c ON c.id = a.contact_id JOIN batches b ON b.id = a.batch_id
    CROSS JOIN LATERAL (
        VALUES (1, 'call.started', m.was IN ('reserved', 'unclear')
                                   AND m.state IN ('placed', 'ringing', 'answered', 'ended')),
               (2, 'call.ended', m.state = 'ended')) AS t (nth, type, is_so)
    JOIN webhook_endpoints e ON e.workspace_id = b.workspace_id AND e.status = 'active' AND t.type = ANY(e.events)
    WHERE t.is_so ORDER BY a.id, t.nth;
    RETURN NULL;
END $$;
CREATE TRIGGER note_events AFTER UPDATE ON attempts
    REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION note_call_events();

CREATE FUNCTION note_contact_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT is_event_wanted('{contact.finished}') THEN
        RETURN NULL;
    END IF;
    INSERT INTO webhook_deliveries (endpoint_id, batch_id, type, data)
    SELECT e.id, c.batch_id, 'contact.finished', jsonb_build_object(
        'batch_id', c.batch_id, 'contact_id', c.id, 'external_id', c.external_id, 'phone_number', c.phone_number,
        'status', c.status, 'status_reason', c.status_reason, 'outcome', c.outcome, 'attempts', c.attempts,
        'finished_at', c.finished_at)
    FROM (SELECT id FROM (SELECT id, finished_at AS was, NULL AS finished_at FROM changed_from
                          UNION ALL SELECT id, NULL, finished_at FROM changed_to) AS versions
          GROUP BY id HAVING max(was) IS NULL AND max(finished_at) IS NOT NULL) AS m
    JOIN contacts c ON c.id = m.id JOIN batches b ON b.id = c.batch_id
    JOIN webhook_endpoints e ON e.workspace_id = b.workspace_id AND e.status = 'active'
                             AND 'contact.finished' = ANY(e.events)
    ORDER BY c.position;
    RETURN NULL;
END $$;
-- After count_changed, by its name, which locks the counts.
CREATE TRIGGER note_events AFTER UPDATE ON contacts
    REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION note_contact_events();
