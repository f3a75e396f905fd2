-- client_ids and thumbprints have one a line, in the order in which they were added.
CREATE TABLE iam_oidc_providers (
    arn         text   PRIMARY KEY,
    url         text   NOT NULL, -- without https://
    client_ids  text   NOT NULL,
    thumbprints text   NOT NULL,
    created_ms  bigint NOT NULL
);
