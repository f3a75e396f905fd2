-- Rises whenever the key is activated or deactivated: a session that was made
-- with the key ends at either.
ALTER TABLE iam_access_keys ADD COLUMN epoch bigint NOT NULL DEFAULT 1;
