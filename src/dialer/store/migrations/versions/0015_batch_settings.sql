-- Who changes a batch, from where and why. The API sets dialer.source and dialer.key_id in its transactions, and
-- dialer.reason with a change of settings. Without them it was a step of the engine, or an operator in SQL.
-- Locks batches, batch_numbers and batch_history against writes while the settings of the batches that are not over are
-- copied: about 1 s for 10,000 of them. Reads go on. Processes of the previous release go on; their changes are noted too.
CREATE FUNCTION change_source() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('dialer.source', true), ''),
                    CASE current_setting('application_name') WHEN 'dialer' THEN 'engine' ELSE 'sql' END)
$$;
CREATE FUNCTION change_key_id() RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT CAST(nullif(current_setting('dialer.key_id', true), '') AS uuid)
$$;

-- NULL: from before this migration. The defaults are set afterwards, because a default that is no constant would rewrite
-- the table.
ALTER TABLE batch_history ADD source text, ADD key_id uuid;
ALTER TABLE batch_history ALTER source SET DEFAULT change_source(), ALTER key_id SET DEFAULT change_key_id();

-- The settings of a batch from `version` on: the columns of batches that operators set, and phone_number_ids. An attempt
-- names the version that allowed it; the row with the greatest version up to that one has its settings. `id`: from the
-- sequence of batch_history, so that both together are one list in the order of the changes.
CREATE TABLE batch_settings (
    batch_id  uuid NOT NULL REFERENCES batches ON DELETE CASCADE,
    version   integer NOT NULL,
    id        bigint NOT NULL UNIQUE DEFAULT nextval('batch_history_id_seq'),
    settings  jsonb NOT NULL,
    at        timestamptz NOT NULL DEFAULT dialer_now(),
    by        text NOT NULL DEFAULT session_user,
    source    text DEFAULT change_source(),
    key_id    uuid DEFAULT change_key_id(),
    reason    text DEFAULT nullif(current_setting('dialer.reason', true), ''),
    PRIMARY KEY (batch_id, version)
);

-- A column that a later migration adds to batches is a setting, unless it is named here. JSON has times as text in the
-- zone of the session: compare and store it in UTC only.
CREATE FUNCTION set_columns(b batches) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT to_jsonb(b) - CAST('{id,workspace_id,contact_source,contact_folder_id,status,status_reason,version,hang_up,'
                              'created_at,updated_at,started_at,completed_at,archived_at}' AS text[])
$$;
CREATE FUNCTION settings_of(b batches) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT set_columns(b) || jsonb_build_object('phone_number_ids', ARRAY(
        SELECT phone_number_id FROM batch_numbers WHERE batch_id = b.id ORDER BY position))
$$;

-- A transaction makes one version of settings, whatever it changes: this runs at its commit, and stores what is there
-- then. A setting that the last version does not have, since its column is newer, was as the changed row had it.
CREATE FUNCTION note_settings() RETURNS trigger LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    last record;
    present record;
    before jsonb;
BEGIN
    SELECT version, settings INTO last FROM batch_settings WHERE batch_id = NEW.id ORDER BY version DESC LIMIT 1;
    before := settings_of(OLD) || coalesce(last.settings, '{}');
    SELECT b.version, settings_of(b) AS settings INTO present FROM batches b WHERE b.id = NEW.id;
    IF FOUND AND present.settings IS DISTINCT FROM before THEN
        UPDATE batch_settings SET settings = before
            WHERE batch_id = NEW.id AND version = last.version AND settings <> before;
        INSERT INTO batch_settings (batch_id, version, settings) VALUES (NEW.id, present.version, present.settings);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER note_first_settings AFTER INSERT ON batches DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION note_settings();
-- A change of the status alone, which may concern thousands of batches, is no change of settings.
CREATE CONSTRAINT TRIGGER note_settings AFTER UPDATE ON batches DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.status = NEW.status OR set_columns(OLD) <> set_columns(NEW))
    EXECUTE FUNCTION note_settings();

-- The outbound numbers of a batch are settings too: a claim that was planned with others is dropped.
CREATE FUNCTION follow_numbers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM batches WHERE id IN (SELECT batch_id FROM changed) ORDER BY id FOR NO KEY UPDATE;
    UPDATE batches SET version = version + 1 WHERE id IN (SELECT batch_id FROM changed);
    RETURN NULL;
END $$;
CREATE TRIGGER follow_added AFTER INSERT ON batch_numbers REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION follow_numbers();
CREATE TRIGGER follow_changed AFTER UPDATE ON batch_numbers REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION follow_numbers();
CREATE TRIGGER follow_removed AFTER DELETE ON batch_numbers REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION follow_numbers();

SET LOCAL timezone = 'UTC';
INSERT INTO batch_settings (batch_id, version, settings, source)
    SELECT b.id, b.version, settings_of(b), NULL FROM batches b
    WHERE b.status NOT IN ('completed', 'cancelled', 'failed') ORDER BY b.id;
