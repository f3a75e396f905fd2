-- One row for each upload of a device. Numbers ascend and are never used again.
CREATE TABLE uploads (
    number      bigint PRIMARY KEY,
    thing       text   NOT NULL,
    certificate text   NOT NULL,
    door        text   NOT NULL, -- s3, inline, mqtt
    status      text   NOT NULL, -- completed, failed
    bucket      text   NOT NULL,
    key         bytea  NOT NULL, -- of the object
    topic       text   NOT NULL, -- of an inline message
    name        text   NOT NULL, -- of an inline message
    size        bigint NOT NULL,
    sha256      text   NOT NULL,
    checksum    text   NOT NULL,
    upload_id   text   NOT NULL,
    reason      text   NOT NULL,
    started_ms  bigint NOT NULL,
    finished_ms bigint NOT NULL
);
CREATE INDEX uploads_by_thing ON uploads (thing, number);
CREATE INDEX uploads_by_finish ON uploads (finished_ms);
CREATE INDEX uploads_by_upload_id ON uploads (certificate, upload_id) WHERE upload_id <> '';
CREATE INDEX uploads_failed ON uploads (certificate, bucket, key) WHERE status = 'failed';

-- The last number that was given, and the last one whose event was published.
CREATE TABLE uploads_state (
    id        bigint PRIMARY KEY CHECK (id = 1),
    last      bigint NOT NULL,
    announced bigint NOT NULL
);
INSERT INTO uploads_state (id, last, announced) VALUES (1, 0, 0);

-- Where uploads go whose URLs are asked for over MQTT; no row for nowhere.
CREATE TABLE upload_door (
    id         bigint PRIMARY KEY CHECK (id = 1),
    role_alias text   NOT NULL,
    bucket     text   NOT NULL
);
