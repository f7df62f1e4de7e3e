-- Of a destination what few have: its name, quiet hours, a limit by the hour, who stands in for it, a form of its own. JSON; empty: none.
ALTER TABLE webhook_endpoints ADD COLUMN options TEXT NOT NULL DEFAULT '';
-- How bad it is, for quiet hours and limits; NULL: not said.
ALTER TABLE webhook_messages ADD COLUMN severity TEXT;
-- So many messages of a destination are left out, and this one says so.
ALTER TABLE webhook_outbox ADD COLUMN more INTEGER NOT NULL DEFAULT 0;
-- The destination for which another one gets the message.
ALTER TABLE webhook_outbox ADD COLUMN instead_of TEXT;
-- What signs links in messages: made by the first process that needs it.
CREATE TABLE link_keys(
  id INTEGER PRIMARY KEY,
  secret TEXT NOT NULL
)
