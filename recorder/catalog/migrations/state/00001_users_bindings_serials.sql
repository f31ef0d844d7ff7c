-- State: authoritative, to be backed up. Times are microseconds since 1970.

-- +goose Up
CREATE TABLE state_users (
    principal  TEXT PRIMARY KEY,
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    name       TEXT NOT NULL,
    email      TEXT NOT NULL,
    group_list TEXT NOT NULL, -- a JSON array of strings
    seen       BIGINT NOT NULL
);

CREATE TABLE state_bindings (
    fingerprint TEXT PRIMARY KEY,
    principal   TEXT NOT NULL REFERENCES state_users (principal),
    source      TEXT NOT NULL,
    created     BIGINT NOT NULL,
    expires     BIGINT NOT NULL
);

CREATE TABLE state_serials (
    serial   BIGINT PRIMARY KEY,
    reserved BIGINT NOT NULL
);

-- +goose Down
DROP TABLE state_serials;
DROP TABLE state_bindings;
DROP TABLE state_users;
