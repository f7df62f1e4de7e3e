-- Delivery of alerts: destinations, what was raised, who gets it, what was tried.
-- Times are milliseconds since the epoch, lists are JSON text.

CREATE TABLE webhook_endpoints(
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  url TEXT NOT NULL,
  description TEXT NOT NULL,
  types TEXT NOT NULL,                 -- JSON list, empty: all
  min_severity TEXT,
  event_groups TEXT NOT NULL,          -- JSON list, empty: all
  rate_per_s DOUBLE PRECISION,         -- null: the configured default
  secret TEXT NOT NULL,
  old_secret TEXT,                     -- still signs until old_until_ms
  old_until_ms BIGINT,
  configured INTEGER NOT NULL,         -- 1: from the configuration file
  created_ms BIGINT NOT NULL,
  deleted_ms BIGINT,
  disabled_ms BIGINT,
  disabled_reason TEXT,
  failing_since_ms BIGINT,             -- first failure since the last success
  from_offset BIGINT NOT NULL,         -- gets the alerts from this offset of the topic on
  to_offset BIGINT                     -- and, once deleted, up to here
);

CREATE TABLE webhook_messages(
  id TEXT PRIMARY KEY,
  type TEXT NOT NULL,
  subject TEXT NOT NULL,               -- alert or incident, may be empty
  log_offset BIGINT,                   -- null: raised by delivery itself
  created_ms BIGINT NOT NULL,
  received_ms BIGINT,                  -- receipt of the event, where one event is the cause
  appended_ms BIGINT NOT NULL,
  scored_ms BIGINT NOT NULL,
  body TEXT NOT NULL                   -- as it is sent, but for the latency
);
CREATE INDEX webhook_messages_created ON webhook_messages(created_ms);

CREATE TABLE webhook_outbox(
  message_id TEXT NOT NULL,
  endpoint_id TEXT NOT NULL,
  state TEXT NOT NULL,                 -- pending, sending, delivered, dead, suppressed
  reason TEXT,                         -- why dead or suppressed
  attempts INTEGER NOT NULL,           -- of the running schedule
  next_ms BIGINT NOT NULL,
  first_sent_ms BIGINT,                -- set once, so that every attempt sends the same bytes
  created_ms BIGINT NOT NULL,
  PRIMARY KEY(message_id, endpoint_id)
);
CREATE INDEX webhook_outbox_due ON webhook_outbox(endpoint_id, state, next_ms);

CREATE TABLE webhook_attempts(
  id {id},
  endpoint_id TEXT NOT NULL,
  message_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  at_ms BIGINT NOT NULL,
  duration_ms BIGINT NOT NULL,
  status INTEGER,
  outcome TEXT NOT NULL,
  reply TEXT NOT NULL                  -- first KB of the answer, or the error
);
CREATE INDEX webhook_attempts_endpoint ON webhook_attempts(endpoint_id, id);
