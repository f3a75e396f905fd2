CREATE TABLE things (
    name       text   PRIMARY KEY,
    id         text   NOT NULL UNIQUE,
    type_name  text   NOT NULL,
    version    bigint NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
);

CREATE TABLE thing_attributes (
    thing_name text NOT NULL REFERENCES things (name) ON DELETE CASCADE,
    name       text NOT NULL,
    value      text NOT NULL,
    PRIMARY KEY (thing_name, name)
);
CREATE INDEX thing_attributes_by_value ON thing_attributes (name, value, thing_name);

CREATE TABLE certificates (
    id               text   PRIMARY KEY,
    der              bytea  NOT NULL,
    status           text   NOT NULL,
    epoch            bigint NOT NULL,
    mode             text   NOT NULL,
    ca_id            text   NOT NULL,
    owner            text   NOT NULL,
    generation_id    text   NOT NULL,
    customer_version bigint NOT NULL,
    created_ms       bigint NOT NULL,
    updated_ms       bigint NOT NULL,
    not_before_ms    bigint NOT NULL,
    not_after_ms     bigint NOT NULL,
    issuer_serial    text   NOT NULL,
    public_key       text   NOT NULL
);
CREATE INDEX certificates_by_creation ON certificates (created_ms, id);

-- What is left of deleted and revoked certificates. It keeps them from
-- enrolling again by themselves, and epochs from starting over.
CREATE TABLE certificate_tombstones (
    id            text   PRIMARY KEY,
    epoch         bigint NOT NULL,
    issuer_serial text   NOT NULL,
    public_key    text   NOT NULL,
    reason        text   NOT NULL,
    buried_ms     bigint NOT NULL
);
CREATE INDEX certificate_tombstones_by_serial ON certificate_tombstones (issuer_serial);
CREATE INDEX certificate_tombstones_by_key ON certificate_tombstones (public_key);

-- principal is a certificate's ARN; other principals follow.
CREATE TABLE thing_principals (
    thing_name  text   NOT NULL REFERENCES things (name),
    principal   text   NOT NULL,
    incarnation bigint NOT NULL,
    type        text   NOT NULL,
    attached_ms bigint NOT NULL,
    PRIMARY KEY (thing_name, principal)
);
CREATE INDEX thing_principals_by_principal ON thing_principals (principal, thing_name);

CREATE TABLE iot_policies (
    name            text   PRIMARY KEY,
    generation_id   text   NOT NULL,
    default_version bigint NOT NULL,
    last_version    bigint NOT NULL,
    created_ms      bigint NOT NULL,
    updated_ms      bigint NOT NULL
);
CREATE INDEX iot_policies_by_creation ON iot_policies (created_ms, name);

CREATE TABLE iot_policy_versions (
    policy_name text   NOT NULL REFERENCES iot_policies (name) ON DELETE CASCADE,
    version     bigint NOT NULL,
    document    text   NOT NULL,
    created_ms  bigint NOT NULL,
    PRIMARY KEY (policy_name, version)
);

CREATE TABLE iot_policy_targets (
    policy_name text   NOT NULL REFERENCES iot_policies (name),
    target      text   NOT NULL,
    attached_ms bigint NOT NULL,
    PRIMARY KEY (policy_name, target)
);
CREATE INDEX iot_policy_targets_by_target ON iot_policy_targets (target, policy_name);

-- Tags of everything of the IoT service that has an ARN; resource is the ARN's
-- last part, as in policy/NAME.
CREATE TABLE iot_tags (
    resource text NOT NULL,
    name     text NOT NULL,
    value    text NOT NULL,
    PRIMARY KEY (resource, name)
);
