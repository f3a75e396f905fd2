CREATE TABLE iam_groups (
    id         text   PRIMARY KEY,
    name       text   NOT NULL UNIQUE,
    name_lower text   NOT NULL UNIQUE,
    path       text   NOT NULL,
    arn        text   NOT NULL,
    created_ms bigint NOT NULL
);

CREATE TABLE iam_group_members (
    group_id text   NOT NULL REFERENCES iam_groups (id) ON DELETE CASCADE,
    user_id  text   NOT NULL REFERENCES iam_users (id),
    added_ms bigint NOT NULL,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX iam_group_members_by_user ON iam_group_members (user_id, group_id);

-- role_id is empty where the profile has no role.
CREATE TABLE iam_instance_profiles (
    id         text   PRIMARY KEY,
    name       text   NOT NULL UNIQUE,
    name_lower text   NOT NULL UNIQUE,
    path       text   NOT NULL,
    arn        text   NOT NULL,
    role_id    text   NOT NULL,
    created_ms bigint NOT NULL
);
CREATE INDEX iam_instance_profiles_by_role ON iam_instance_profiles (role_id, name_lower);

-- When an access key, or a role, was last used. Written now and then.
CREATE TABLE iam_last_used (
    id      text   PRIMARY KEY,
    used_ms bigint NOT NULL,
    service text   NOT NULL,
    region  text   NOT NULL
);
