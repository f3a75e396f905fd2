CREATE TABLE ca_certificates (
    id                text   PRIMARY KEY,
    der               bytea  NOT NULL,
    status            text   NOT NULL,
    auto_registration bigint NOT NULL,
    mode              text   NOT NULL,
    owner             text   NOT NULL,
    generation_id     text   NOT NULL,
    customer_version  bigint NOT NULL,
    created_ms        bigint NOT NULL,
    updated_ms        bigint NOT NULL,
    not_before_ms     bigint NOT NULL,
    not_after_ms      bigint NOT NULL,
    subject           text   NOT NULL
);
CREATE INDEX ca_certificates_by_creation ON ca_certificates (created_ms, id);
CREATE INDEX ca_certificates_by_subject ON ca_certificates (subject, created_ms, id);

-- One row for each account: what proves the possession of a CA's key.
CREATE TABLE registration_codes (
    account text PRIMARY KEY,
    code    text NOT NULL
);

CREATE INDEX certificates_by_ca ON certificates (ca_id, created_ms, id);
CREATE INDEX certificates_by_serial ON certificates (issuer_serial);
CREATE INDEX certificates_by_expiry ON certificates (not_after_ms, id);
