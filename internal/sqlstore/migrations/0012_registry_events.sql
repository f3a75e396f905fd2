-- Which events of the registry are published; what has no row is not.
CREATE TABLE iot_event_configurations (
    type        text   PRIMARY KEY,
    enabled     bigint NOT NULL,
    created_ms  bigint NOT NULL,
    modified_ms bigint NOT NULL
);
