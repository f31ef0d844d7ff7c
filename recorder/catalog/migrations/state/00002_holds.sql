-- What keeps recordings from being destroyed, and what destroyed them; and what
-- the node remembers of its own ledger. Times are microseconds since 1970.

-- +goose Up
CREATE TABLE state_holds (
    recording TEXT PRIMARY KEY,
    reason    TEXT NOT NULL,
    by_whom   TEXT NOT NULL,
    since     BIGINT NOT NULL
);

CREATE TABLE state_tombstones (
    recording TEXT PRIMARY KEY,
    reason    TEXT NOT NULL,
    by_whom   TEXT NOT NULL,
    at        BIGINT NOT NULL,
    done      BIGINT NOT NULL -- 1 once the keys are destroyed
);

CREATE TABLE state_remembered (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL
);

-- +goose Down
DROP TABLE state_remembered;
DROP TABLE state_tombstones;
DROP TABLE state_holds;
