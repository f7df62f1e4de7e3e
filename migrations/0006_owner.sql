-- Whose attempt it is while a row is `sending`: the number that its process holds in the store; 0 where only one can be.
ALTER TABLE webhook_outbox ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
CREATE INDEX webhook_outbox_sending ON webhook_outbox(owner) WHERE state = 'sending';
