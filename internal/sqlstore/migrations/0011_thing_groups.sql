-- parent is empty for the root of a hierarchy. Groups never move.
CREATE TABLE thing_groups (
    name        text   PRIMARY KEY,
    id          text   NOT NULL,
    parent      text   NOT NULL,
    description text   NOT NULL,
    version     bigint NOT NULL,
    created_ms  bigint NOT NULL
);
CREATE INDEX thing_groups_by_parent ON thing_groups (parent, name);

CREATE TABLE thing_group_attributes (
    group_name text NOT NULL REFERENCES thing_groups (name) ON DELETE CASCADE,
    name       text NOT NULL,
    value      text NOT NULL,
    PRIMARY KEY (group_name, name)
);

-- Each group with itself (distance 0) and with every group above it.
CREATE TABLE thing_group_ancestors (
    group_name text   NOT NULL REFERENCES thing_groups (name) ON DELETE CASCADE,
    ancestor   text   NOT NULL,
    distance   bigint NOT NULL,
    PRIMARY KEY (group_name, ancestor)
);
CREATE INDEX thing_group_ancestors_by_ancestor ON thing_group_ancestors (ancestor, group_name);

-- root is the root of the group's hierarchy: a thing is in one group of each.
CREATE TABLE thing_group_members (
    thing_name text   NOT NULL REFERENCES things (name) ON DELETE CASCADE,
    root       text   NOT NULL,
    group_name text   NOT NULL REFERENCES thing_groups (name) ON DELETE CASCADE,
    added_ms   bigint NOT NULL,
    PRIMARY KEY (thing_name, root)
);
CREATE INDEX thing_group_members_by_group ON thing_group_members (group_name, thing_name);
