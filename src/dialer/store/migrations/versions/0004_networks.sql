-- When the network first said of a live attempt that it does not have the call.
ALTER TABLE attempts ADD COLUMN gone_at timestamptz;
ALTER TABLE attempts_archive ADD COLUMN gone_at timestamptz;

-- Which listener hears which trunk's network: without a break since `linked_at` (NULL: it does not, for `reason`), and
-- surely all that was sent before `heard_at`.
CREATE TABLE trunk_links (
    trunk_id     uuid NOT NULL REFERENCES trunks ON DELETE CASCADE,
    listener_id  uuid NOT NULL,
    linked_at    timestamptz,
    heard_at     timestamptz NOT NULL,
    reason       text,
    PRIMARY KEY (trunk_id, listener_id),
    CHECK ((linked_at IS NULL) = (reason IS NOT NULL))
);

-- For the calls of a trunk that is heard again.
CREATE INDEX attempts_live_of_trunk ON attempts (trunk_id) WHERE rescue_at IS NOT NULL;

-- For rescue, which leaves an attempt alone whose report is about to be settled.
CREATE INDEX inbox_waiting_of_attempt ON inbox (attempt_id) WHERE settled_at IS NULL;
