-- Calls refused because the key lacks the scope: an attack, or a wrong configuration. Counted by the hour, so that a flood of
-- them is one row. Times are milliseconds since the epoch.

CREATE TABLE access_refusals(
  hour_ms BIGINT NOT NULL,
  prefix TEXT NOT NULL,                -- public part of the key
  scope TEXT NOT NULL,                 -- what it lacks
  refused BIGINT NOT NULL,
  last_ms BIGINT NOT NULL,
  PRIMARY KEY(hour_ms, prefix, scope)
);
