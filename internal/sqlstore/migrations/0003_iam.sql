CREATE TABLE iam_roles (
    id          text   PRIMARY KEY,
    name        text   NOT NULL UNIQUE,
    name_lower  text   NOT NULL UNIQUE,
    path        text   NOT NULL,
    arn         text   NOT NULL,
    description text   NOT NULL,
    max_session bigint NOT NULL, -- seconds
    trust       text   NOT NULL,
    boundary    text   NOT NULL, -- ARN, or empty
    created_ms  bigint NOT NULL
);
CREATE INDEX iam_roles_by_boundary ON iam_roles (boundary);

CREATE TABLE iam_users (
    id         text   PRIMARY KEY,
    name       text   NOT NULL UNIQUE,
    name_lower text   NOT NULL UNIQUE,
    path       text   NOT NULL,
    arn        text   NOT NULL,
    boundary   text   NOT NULL,
    created_ms bigint NOT NULL
);
CREATE INDEX iam_users_by_boundary ON iam_users (boundary);

-- user_id is empty for keys of the account root. The secret is sealed.
CREATE TABLE iam_access_keys (
    id         text   PRIMARY KEY,
    user_id    text   NOT NULL,
    active     bigint NOT NULL,
    sealed     bytea  NOT NULL,
    created_ms bigint NOT NULL
);
CREATE INDEX iam_access_keys_by_user ON iam_access_keys (user_id, id);

CREATE TABLE iam_policies (
    id              text   PRIMARY KEY,
    arn             text   NOT NULL UNIQUE,
    name            text   NOT NULL,
    name_lower      text   NOT NULL UNIQUE,
    path            text   NOT NULL,
    description     text   NOT NULL,
    default_version bigint NOT NULL,
    last_version    bigint NOT NULL, -- numbers are never used again
    created_ms      bigint NOT NULL,
    updated_ms      bigint NOT NULL
);

CREATE TABLE iam_policy_versions (
    policy_id  text   NOT NULL REFERENCES iam_policies (id) ON DELETE CASCADE,
    version    bigint NOT NULL,
    document   text   NOT NULL,
    created_ms bigint NOT NULL,
    PRIMARY KEY (policy_id, version)
);

-- holder_id is the id of a role or user.
CREATE TABLE iam_inline_policies (
    holder_id text NOT NULL,
    name      text NOT NULL,
    document  text NOT NULL,
    PRIMARY KEY (holder_id, name)
);

-- policy_arn may be that of a policy of AWS's, which no table holds.
CREATE TABLE iam_attachments (
    holder_id   text   NOT NULL,
    policy_arn  text   NOT NULL,
    attached_ms bigint NOT NULL,
    PRIMARY KEY (holder_id, policy_arn)
);
CREATE INDEX iam_attachments_by_policy ON iam_attachments (policy_arn, holder_id);

-- owner_id is the id of a role, user or policy.
CREATE TABLE iam_tags (
    owner_id   text NOT NULL,
    name_lower text NOT NULL,
    name       text NOT NULL,
    value      text NOT NULL,
    PRIMARY KEY (owner_id, name_lower)
);

CREATE TABLE role_aliases (
    name       text   PRIMARY KEY,
    role_arn   text   NOT NULL,
    duration   bigint NOT NULL, -- seconds
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
);
