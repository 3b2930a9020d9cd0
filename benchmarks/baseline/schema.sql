CREATE TABLE campaigns (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    status          text NOT NULL DEFAULT 'draft',
    max_concurrent  integer NOT NULL,
    max_retries     integer NOT NULL,
    retry_seconds   double precision NOT NULL,
    start_time      time NOT NULL DEFAULT '00:00',
    end_time        time NOT NULL DEFAULT '24:00'
);
CREATE TABLE contacts (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id  integer NOT NULL REFERENCES campaigns,
    phone        text NOT NULL,
    status       text NOT NULL DEFAULT 'pending',
    attempts     integer NOT NULL DEFAULT 0,
    outcome      text,
    finished_at  timestamptz,
    UNIQUE (campaign_id, phone)
);
CREATE INDEX contacts_by_status ON contacts (campaign_id, status, id);
CREATE TABLE calls (
    id                uuid PRIMARY KEY,
    contact_id        bigint NOT NULL REFERENCES contacts,
    status            text NOT NULL,
    outcome           text,
    provider_call_id  text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    ended_at          timestamptz
);
CREATE INDEX calls_of_contact ON calls (contact_id);
