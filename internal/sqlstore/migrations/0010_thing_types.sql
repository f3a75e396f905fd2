CREATE TABLE thing_types (
    name          text   PRIMARY KEY,
    id            text   NOT NULL,
    description   text   NOT NULL,
    created_ms    bigint NOT NULL,
    deprecated_ms bigint NOT NULL -- 0 while it is not
);

-- The attributes that things of a type are found by in listings.
CREATE TABLE thing_type_searchable (
    type_name text NOT NULL REFERENCES thing_types (name) ON DELETE CASCADE,
    name      text NOT NULL,
    PRIMARY KEY (type_name, name)
);

CREATE INDEX things_by_type ON things (type_name, name);
