-- How many records there are of each thing, and of each certificate where they
-- have no thing. No row for none.
CREATE TABLE uploads_kept (
    thing       text   NOT NULL,
    certificate text   NOT NULL, -- '' where there is a thing
    kept        bigint NOT NULL,
    PRIMARY KEY (thing, certificate)
);
INSERT INTO uploads_kept (thing, certificate, kept)
    SELECT thing, CASE WHEN thing = '' THEN certificate ELSE '' END, COUNT(*) FROM uploads GROUP BY 1, 2;

-- And in all.
ALTER TABLE uploads_state ADD COLUMN kept bigint NOT NULL DEFAULT 0;
UPDATE uploads_state SET kept = (SELECT COUNT(*) FROM uploads);

CREATE INDEX uploads_without_thing ON uploads (certificate, number) WHERE thing = '';
