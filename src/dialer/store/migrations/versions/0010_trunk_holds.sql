-- Where answered calls may go is said by the trunk: its `context`, or its `destinations`, which agents may name exactly so.
-- `added_config`: the connections that agents had before, as destinations, where they are plain. Others, which could do
-- anything on the switch, are left to the trunk's admin; their batches are held as agent_not_permitted. A column of its own:
-- the previous release refuses a config with a key that it does not know. It is empty once the config is written again.
ALTER TABLE trunks ADD added_config jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(added_config) = 'object');

CREATE FUNCTION is_plain_destination(provider text, place jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN jsonb_typeof(place) IS DISTINCT FROM 'object' THEN false
        WHEN provider = 'asterisk' THEN
            (coalesce(jsonb_typeof(place -> 'priority'), 'number') = 'number'
             AND coalesce(place ->> 'priority', '1') ~ '^[1-9][0-9]{0,3}$'
             AND place - 'priority' = jsonb_build_object('context', place ->> 'context', 'exten', place ->> 'exten')
             AND place ->> 'context' ~ '^[A-Za-z0-9_-]{1,79}$'
             AND place ->> 'exten' ~ '^[A-Za-z0-9*#+][A-Za-z0-9*#+._-]{0,78}$')
            OR (place = jsonb_build_object('app', place ->> 'app')
                AND place ->> 'app' ~ '^[A-Za-z0-9_][A-Za-z0-9._-]{0,78}$')
        WHEN provider = 'freeswitch' THEN
            place - 'application' - 'data' = '{}'
            AND (place ->> 'application' = 'park' AND coalesce(place ->> 'data', '') = ''
                 OR place ->> 'application' = 'transfer'
                    AND place ->> 'data' ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,78}( XML [A-Za-z0-9_-]{1,79})?$')
        ELSE false END
$$;

UPDATE trunks t SET added_config = jsonb_build_object('destinations', found.places)
FROM (SELECT DISTINCT k.id, (SELECT jsonb_agg(places.place) FROM
            (SELECT DISTINCT a.connection -> k.provider AS place FROM agents a
             WHERE a.workspace_id = k.workspace_id AND a.status = 'active'
               AND is_plain_destination(k.provider, a.connection -> k.provider) LIMIT 100) AS places) AS places
      FROM trunks k) AS found
WHERE t.id = found.id AND found.places IS NOT NULL;
DROP FUNCTION is_plain_destination(text, jsonb);

CREATE FUNCTION forget_added_config() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.added_config := '{}';
    RETURN NEW;
END $$;
CREATE TRIGGER forget_added_config BEFORE UPDATE OF config ON trunks FOR EACH ROW
    WHEN (NEW.config IS DISTINCT FROM OLD.config) EXECUTE FUNCTION forget_added_config();

-- Where answered calls of an agent go nowhere on a trunk; no row: they do not. `drops`: answered calls in a row that the
-- switch ended at once. `held_at`: since when no call of this agent goes out on this trunk, for `reason`: until `probe_at`,
-- or where that is NULL until an operator changes the agent or the trunk.
CREATE TABLE agent_health (
    agent_id  uuid NOT NULL REFERENCES agents ON DELETE CASCADE,
    trunk_id  uuid NOT NULL REFERENCES trunks ON DELETE CASCADE,
    drops     integer NOT NULL DEFAULT 0 CHECK (drops >= 0),
    held_at   timestamptz,
    reason    text,
    probe_at  timestamptz,
    PRIMARY KEY (agent_id, trunk_id),
    CHECK ((held_at IS NULL) = (reason IS NULL)),
    CHECK (probe_at IS NULL OR held_at IS NOT NULL)
);
CREATE INDEX agent_health_of_trunk ON agent_health (trunk_id);

CREATE FUNCTION forget_agent_health() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'agents' THEN
        DELETE FROM agent_health WHERE agent_id = NEW.id;
    ELSE
        DELETE FROM agent_health WHERE trunk_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_agent_health AFTER UPDATE ON agents FOR EACH ROW EXECUTE FUNCTION forget_agent_health();
CREATE TRIGGER forget_agent_health AFTER UPDATE ON trunks FOR EACH ROW EXECUTE FUNCTION forget_agent_health();

-- As before, and those that wait for their agent on a trunk.
CREATE OR REPLACE FUNCTION wake_held_batches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE batch_progress SET next_dispatch_at = dialer_now()
    WHERE batch_id IN (SELECT p.batch_id FROM batch_progress p JOIN batches b ON b.id = p.batch_id
                       WHERE p.held_by IN ('trunk', 'number', 'number_day', 'rate', 'no_active_number',
                                           'agent_inactive', 'trunk_failing', 'agent_failing', 'agent_not_permitted')
                         AND b.workspace_id IN (SELECT workspace_id FROM changed_to)
                       ORDER BY p.batch_id FOR NO KEY UPDATE OF p)
      AND next_dispatch_at IS NOT NULL;
    RETURN NULL;
END $$;

-- How long a call of the batch may ring, and last once it is answered; NULL: as long as any may.
ALTER TABLE batches
    ADD ring_timeout_seconds integer CHECK (ring_timeout_seconds BETWEEN 5 AND 120),
    ADD max_call_seconds integer CHECK (max_call_seconds BETWEEN 10 AND 14400);
