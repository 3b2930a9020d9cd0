-- How many contacts a folder has, kept by triggers, because counting them takes longer the more they are. Writes to
-- folder_contacts wait until they are counted once: about a second for a million. A count is no change of the folder.
ALTER TABLE contact_folders ADD contacts bigint NOT NULL DEFAULT 0;
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE OF name, default_region ON contact_folders
    FOR EACH ROW EXECUTE FUNCTION touch();

-- Folders are locked by id: an erasure of a person may take contacts out of several.
CREATE FUNCTION count_folder_contacts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM contact_folders WHERE id IN (SELECT folder_id FROM changed) ORDER BY id FOR NO KEY UPDATE;
    UPDATE contact_folders f SET contacts = f.contacts + CASE TG_OP WHEN 'INSERT' THEN c.n ELSE -c.n END
    FROM (SELECT folder_id, count(*) AS n FROM changed GROUP BY folder_id) AS c WHERE f.id = c.folder_id;
    RETURN NULL;
END $$;
CREATE TRIGGER count_added AFTER INSERT ON folder_contacts REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_folder_contacts();
CREATE TRIGGER count_deleted AFTER DELETE ON folder_contacts REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_folder_contacts();
UPDATE contact_folders f SET contacts = (SELECT count(*) FROM folder_contacts c WHERE c.folder_id = f.id);

-- The orders in which lists can be read, so that no page sorts what is stored. Each table is locked against writes from
-- its index to the end, so those that calls need come last: about a second for a million suppressions, a moment for each
-- of the others. Processes of the previous release go on.
CREATE INDEX suppressions_by_age ON suppressions (workspace_id, created_at, id);
CREATE INDEX webhook_endpoints_by_age ON webhook_endpoints (workspace_id, created_at, id);
CREATE INDEX contact_folders_by_age ON contact_folders (workspace_id, created_at, id);
CREATE INDEX agents_by_age ON agents (workspace_id, created_at, id);
CREATE INDEX trunks_by_age ON trunks (workspace_id, created_at, id);
CREATE INDEX phone_numbers_by_age ON phone_numbers (workspace_id, created_at, id);
CREATE INDEX batch_settings_by_id ON batch_settings (batch_id, id);
CREATE INDEX batches_by_name ON batches (workspace_id, name, id);

-- The time zone of batches that are created without one. A constant default: no row is written. Last, because dispatch
-- reads the table, and waits until the end.
ALTER TABLE workspaces ADD timezone text NOT NULL DEFAULT 'UTC';
