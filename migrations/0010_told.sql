-- Of e-mail: the recipients that have the message already, a JSON list; another attempt goes to the others only.
ALTER TABLE webhook_outbox ADD COLUMN told TEXT
