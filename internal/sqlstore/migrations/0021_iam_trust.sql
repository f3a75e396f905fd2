-- Whom a trust policy names, by the unique ids that were theirs when it was
-- written; empty for one that did not exist. A session's is its role's.
CREATE TABLE iam_trust_principals (
    role_id      text NOT NULL REFERENCES iam_roles (id) ON DELETE CASCADE,
    principal    text NOT NULL,
    principal_id text NOT NULL,
    PRIMARY KEY (role_id, principal)
);

-- 0 for roles from before the table above, whose principals are still to be found.
ALTER TABLE iam_roles ADD COLUMN pinned bigint NOT NULL DEFAULT 0;
