-- People who look at the dashboard, and where they are signed in. Holds no secret: passwords are argon2id, tokens SHA-256.
-- Times are milliseconds since the epoch.

CREATE TABLE user_accounts(
  name TEXT PRIMARY KEY,
  role TEXT NOT NULL,                  -- viewer, analyst, admin
  hash TEXT,                           -- null: comes through a trusted proxy only
  created_ms BIGINT NOT NULL,
  changed_ms BIGINT NOT NULL
);

CREATE TABLE user_sessions(
  token_hash TEXT PRIMARY KEY,
  kind TEXT NOT NULL,                  -- user, key
  who TEXT NOT NULL,                   -- name of the user, or prefix of the key
  created_ms BIGINT NOT NULL,
  expires_ms BIGINT NOT NULL
);
CREATE INDEX user_sessions_by_who ON user_sessions(kind, who, created_ms);
CREATE INDEX user_sessions_by_expiry ON user_sessions(expires_ms);
