CREATE TABLE s3_buckets (
    name    text   PRIMARY KEY,
    id      bigint NOT NULL UNIQUE,
    created bigint NOT NULL, -- unix milliseconds
    policy  bytea
);

-- layout: 0 one data file named by version, -1 bytes in s3_inline, N > 0 parts of upload version
CREATE TABLE s3_objects (
    bucket   bigint NOT NULL,
    key      bytea  NOT NULL,
    version  bytea  NOT NULL,
    size     bigint NOT NULL,
    etag     text   NOT NULL,
    modified bigint NOT NULL, -- unix milliseconds
    layout   bigint NOT NULL,
    checksum text   NOT NULL,
    headers  bytea  NOT NULL,
    PRIMARY KEY (bucket, key)
);
CREATE UNIQUE INDEX s3_objects_version ON s3_objects (version);

-- apart from s3_objects so that listings read none of it
CREATE TABLE s3_inline (
    version bytea PRIMARY KEY,
    data    bytea NOT NULL
);

CREATE TABLE s3_uploads (
    id                 bytea  PRIMARY KEY,
    bucket             bigint NOT NULL,
    key                bytea  NOT NULL,
    initiated          bigint NOT NULL, -- unix milliseconds
    revision           bigint NOT NULL,
    headers            bytea  NOT NULL,
    checksum_algorithm text   NOT NULL,
    checksum_type      text   NOT NULL
);
CREATE UNIQUE INDEX s3_uploads_key ON s3_uploads (bucket, key, id);
CREATE INDEX s3_uploads_initiated ON s3_uploads (initiated);

-- of uploads under way and of completed objects alike
CREATE TABLE s3_parts (
    upload   bytea  NOT NULL,
    number   bigint NOT NULL,
    blob     bytea  NOT NULL,
    size     bigint NOT NULL,
    etag     text   NOT NULL,
    modified bigint NOT NULL, -- unix milliseconds
    checksum text   NOT NULL,
    PRIMARY KEY (upload, number)
);
CREATE UNIQUE INDEX s3_parts_blob ON s3_parts (blob);

CREATE TABLE s3_garbage (
    id    bytea  PRIMARY KEY,
    parts bigint NOT NULL -- 1: all parts of this upload; 0: this data file
);

CREATE TABLE s3_generation (
    id      bigint PRIMARY KEY CHECK (id = 1),
    current bigint NOT NULL,
    unswept bigint NOT NULL
);
INSERT INTO s3_generation (id, current, unswept) VALUES (1, 0, 0);
