-- Index: can be dropped and rebuilt from the recordings. The columns *_text are
-- lower-case copies that searches compare; the JSON columns are what is returned.
-- Times are microseconds since 1970.

-- +goose Up
CREATE TABLE index_recordings (
    id          TEXT PRIMARY KEY,
    started     BIGINT NOT NULL,
    state       TEXT NOT NULL,
    user_text   TEXT NOT NULL, -- name, e-mail, subject and principal, one a line
    target_text TEXT NOT NULL,
    any_text    TEXT NOT NULL, -- user_text, target, login, command and id, one a line
    session     TEXT NOT NULL, -- JSON of policy.Session
    summary     TEXT NOT NULL  -- JSON of policy.Summary
);

CREATE INDEX index_recordings_started ON index_recordings (started, id);
CREATE INDEX index_recordings_state ON index_recordings (state, started, id);

-- +goose Down
DROP TABLE index_recordings;
