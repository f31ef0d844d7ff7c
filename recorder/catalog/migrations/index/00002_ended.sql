-- When a recording ended, and how long it is kept after that; both in
-- microseconds, 0 where there is none.

-- +goose Up
ALTER TABLE index_recordings ADD COLUMN ended BIGINT NOT NULL DEFAULT 0;
ALTER TABLE index_recordings ADD COLUMN retention BIGINT NOT NULL DEFAULT 0;
CREATE INDEX index_recordings_ended ON index_recordings (ended);

-- +goose Down
DROP INDEX index_recordings_ended;
ALTER TABLE index_recordings DROP COLUMN retention;
ALTER TABLE index_recordings DROP COLUMN ended;
