-- What searches find things by. Values are compared without case; those that
-- are decimal numbers have a number, too, as registry.ParseNumber reads them.
ALTER TABLE thing_attributes ADD COLUMN number double precision;
UPDATE thing_attributes SET number = CAST(value AS double precision)
    WHERE length(value) <= 40 AND ltrim(value, '-.0123456789') = '' AND ltrim(value, '-.') <> ''
    AND value NOT LIKE '_%-%' AND value NOT LIKE '%.%.%';
DROP INDEX thing_attributes_by_value;
CREATE INDEX thing_attributes_by_value ON thing_attributes (name, lower(value), thing_name);
CREATE INDEX thing_attributes_by_number ON thing_attributes (name, number, thing_name) WHERE number IS NOT NULL;

-- Whether things are connected, and since when; what never was has no row.
CREATE TABLE thing_connectivity (
    thing_name text   PRIMARY KEY REFERENCES things (name) ON DELETE CASCADE,
    connected  bigint NOT NULL,
    since_ms   bigint NOT NULL,
    reason     text   NOT NULL -- of a disconnection
);
CREATE INDEX thing_connectivity_by_state ON thing_connectivity (connected, thing_name);

-- Custom fields are lines of a name, a tab and a type.
CREATE TABLE iot_indexing (
    id           bigint PRIMARY KEY CHECK (id = 1),
    things       text   NOT NULL,
    connectivity text   NOT NULL,
    fields       text   NOT NULL
);
