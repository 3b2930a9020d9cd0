-- Who may ask: a key belongs to one workspace and has one role. Only a hash of its secret is kept.
CREATE TABLE api_keys (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL REFERENCES workspaces,
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    role          text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    secret_hash   bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT dialer_now(),
    revoked_at    timestamptz
);
CREATE INDEX api_keys_of_workspace ON api_keys (workspace_id, id DESC);

-- The answers of requests that carried an idempotency key, written in the transaction that did what was asked.
-- `route`: method and path. `body` is answered again as it stands.
CREATE TABLE idempotency_keys (
    workspace_id  uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    route         text NOT NULL,
    key           text NOT NULL,
    request_hash  bytea NOT NULL,
    status        smallint NOT NULL,
    body          text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT dialer_now(),
    PRIMARY KEY (workspace_id, route, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Contacts that are kept for several batches: loaded into a batch when it is created.
CREATE TABLE contact_folders (
    id              uuid PRIMARY KEY,
    workspace_id    uuid NOT NULL REFERENCES workspaces,
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    default_region  text CHECK (default_region ~ '^[A-Z]{2}$'),
    created_at      timestamptz NOT NULL DEFAULT dialer_now(),
    updated_at      timestamptz NOT NULL DEFAULT dialer_now(),
    UNIQUE (workspace_id, name)
);

CREATE TABLE folder_contacts (
    id            uuid PRIMARY KEY,
    folder_id     uuid NOT NULL REFERENCES contact_folders ON DELETE CASCADE,
    position      bigint GENERATED ALWAYS AS IDENTITY,
    phone_number  text NOT NULL CHECK (phone_number ~ '^\+[1-9][0-9]{1,14}$'),
    name          text,
    timezone      text,
    priority      smallint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 1 AND 10),
    external_id   text,
    expires_at    timestamptz,
    variables     jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT dialer_now(),
    UNIQUE (folder_id, phone_number)
);
CREATE INDEX folder_contacts_in_order ON folder_contacts (folder_id, position);

-- `hang_up`: when the batch was cancelled, its calls in progress were to be ended, too; rescue does so until none is left.
ALTER TABLE batches
    ADD contact_folder_id uuid REFERENCES contact_folders ON DELETE SET NULL,
    ADD hang_up boolean NOT NULL DEFAULT false;
CREATE INDEX batches_to_hang_up ON batches (id) WHERE hang_up AND archived_at IS NULL;

-- Pages of a batch's contacts, and the contact that a customer's own system knows by another name.
CREATE INDEX contacts_in_order ON contacts (batch_id, position);
CREATE INDEX contacts_by_external_id ON contacts (batch_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX attempts_archive_of_contact ON attempts_archive (contact_id, id);

ALTER TABLE suppressions
    ADD id uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    ADD updated_at timestamptz NOT NULL DEFAULT dialer_now();
ALTER TABLE agents ADD updated_at timestamptz NOT NULL DEFAULT dialer_now();
ALTER TABLE phone_numbers ADD updated_at timestamptz NOT NULL DEFAULT dialer_now();
ALTER TABLE trunks ADD updated_at timestamptz NOT NULL DEFAULT dialer_now();

CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := dialer_now();
    RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE UPDATE ON suppressions FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER touch BEFORE UPDATE ON agents FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER touch BEFORE UPDATE ON phone_numbers FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER touch BEFORE UPDATE ON trunks FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER touch BEFORE UPDATE ON contact_folders FOR EACH ROW EXECUTE FUNCTION touch();
