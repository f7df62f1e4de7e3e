-- Who looked at what of persons: one row an hour for each holder, address and entity, so that a page that loads itself again is
-- one row. Times are milliseconds since the epoch.

CREATE TABLE access_log(
  hour_ms BIGINT NOT NULL,
  who TEXT NOT NULL,                   -- name of the person, or of the key with its public prefix
  path TEXT NOT NULL,                  -- what was asked, without its parameters
  entity TEXT NOT NULL,                -- name:id that was asked for, else empty
  looks BIGINT NOT NULL,
  first_ms BIGINT NOT NULL,
  last_ms BIGINT NOT NULL,
  PRIMARY KEY(hour_ms, who, path, entity)
);
CREATE INDEX access_log_by_time ON access_log(last_ms);
