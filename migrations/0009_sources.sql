-- Events by hour of event time and source, and when the last of them came: so that nobody has to scan the events for them.
CREATE TABLE source_hours(
  hour_ms BIGINT NOT NULL,
  source TEXT NOT NULL,
  events BIGINT NOT NULL,
  last_ms BIGINT NOT NULL,             -- receipt of the last, ms since the epoch
  PRIMARY KEY(hour_ms, source)
);
INSERT INTO source_hours
  SELECT time_ms / 3600000 * 3600000, source, COUNT(*), MAX(received_ms) FROM scored_events GROUP BY 1, 2;
-- The way of an alert to its destinations.
CREATE INDEX webhook_messages_subject ON webhook_messages(subject)
