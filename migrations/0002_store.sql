-- What the readers of the log keep for people: scored events, alerts, incidents, verdicts, series, refusals, and how far
-- each reader has read. One text for SQLite and PostgreSQL; the tokens in braces are explained in src/store/dialect.rs.
-- Times are milliseconds since the epoch, amounts integer minor units, `json` and `raw` the bytes as they are in the log.

CREATE TABLE scored_events (
    event_id TEXT NOT NULL,
    source TEXT NOT NULL,
    log_partition INTEGER NOT NULL,
    log_offset BIGINT NOT NULL,
    type TEXT NOT NULL,
    event_group TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    received_ms BIGINT NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    p_value DOUBLE PRECISION NOT NULL,
    decision TEXT NOT NULL,
    channel TEXT NOT NULL,
    severity TEXT NOT NULL,
    model TEXT NOT NULL,
    threshold TEXT NOT NULL,
    amount_minor BIGINT,
    currency TEXT,
    country TEXT,
    category TEXT,
    json TEXT NOT NULL,
    raw TEXT,
    PRIMARY KEY (event_id, source)
);
CREATE INDEX scored_events_by_time ON scored_events (time_ms DESC, event_id DESC, source DESC);
-- Partial: what people look for is rare, so these stay small.
CREATE INDEX scored_events_anomalies ON scored_events (time_ms DESC, event_id DESC, source DESC) WHERE decision = 'anomaly';
CREATE INDEX scored_events_high ON scored_events (time_ms DESC, event_id DESC, source DESC) WHERE score >= 0.5;

CREATE TABLE event_entities (
    name TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    event_id TEXT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (name, entity_id, time_ms, event_id, source)
) {without_rowid};
CREATE INDEX event_entities_by_time ON event_entities (time_ms);

-- Counts by hour of event time, so that nobody has to scan the events for them.
CREATE TABLE event_hours (
    hour_ms BIGINT NOT NULL,
    event_group TEXT NOT NULL,
    decision TEXT NOT NULL,
    channel TEXT NOT NULL,
    events BIGINT NOT NULL,
    PRIMARY KEY (hour_ms, event_group, decision, channel)
);

CREATE TABLE alerts (
    alert_id TEXT NOT NULL PRIMARY KEY,
    opened_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    resolved_ms BIGINT,
    severity TEXT NOT NULL,
    status TEXT NOT NULL,
    event_id TEXT NOT NULL,
    source TEXT NOT NULL,
    event_type TEXT NOT NULL,
    event_group TEXT NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    entity TEXT,
    count BIGINT NOT NULL,
    acked_ms BIGINT,
    acked_by TEXT,
    json TEXT NOT NULL
);
CREATE INDEX alerts_by_time ON alerts (opened_ms DESC, alert_id DESC);
CREATE INDEX alerts_open ON alerts (opened_ms DESC, alert_id DESC) WHERE status = 'open';
CREATE INDEX alerts_by_event ON alerts (event_id, source);

CREATE TABLE incidents (
    incident_id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    opened_ms BIGINT NOT NULL,
    started_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    resolved_ms BIGINT,
    severity TEXT NOT NULL,
    status TEXT NOT NULL,
    metric TEXT NOT NULL,
    dimensions TEXT NOT NULL,
    value DOUBLE PRECISION,
    low DOUBLE PRECISION,
    high DOUBLE PRECISION,
    direction TEXT NOT NULL,
    acked_ms BIGINT,
    acked_by TEXT,
    json TEXT NOT NULL
);
CREATE INDEX incidents_by_time ON incidents (opened_ms DESC, incident_id DESC);
CREATE INDEX incidents_open ON incidents (opened_ms DESC, incident_id DESC) WHERE status = 'open';

-- Every record of the topic `alerts` once, known by what caused it: the time-line of an alert, and what drops repeats.
CREATE TABLE alert_history (
    subject TEXT NOT NULL,
    cause_partition INTEGER NOT NULL,
    cause_offset BIGINT NOT NULL,
    cause_kind BIGINT NOT NULL,
    type TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    log_offset BIGINT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (subject, cause_partition, cause_offset, cause_kind, type)
);
CREATE INDEX alert_history_by_time ON alert_history (time_ms);

CREATE TABLE labels (
    log_partition INTEGER NOT NULL,
    log_offset BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    target TEXT NOT NULL,
    event_id TEXT,
    source TEXT,
    verdict TEXT NOT NULL,
    origin TEXT NOT NULL,
    author TEXT NOT NULL,
    reason TEXT,
    json TEXT NOT NULL,
    PRIMARY KEY (log_partition, log_offset)
);
CREATE INDEX labels_by_target ON labels (target, author, origin, log_offset DESC);
CREATE INDEX labels_by_time ON labels (time_ms);

CREATE TABLE series_rollup (
    metric TEXT NOT NULL,
    dimensions TEXT NOT NULL,
    bucket_ms BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION,
    high DOUBLE PRECISION,
    anomalous BOOLEAN NOT NULL,
    PRIMARY KEY (metric, dimensions, bucket_ms)
) {without_rowid};
CREATE INDEX series_rollup_by_time ON series_rollup (bucket_ms);

CREATE TABLE rejects (
    log_partition INTEGER NOT NULL,
    log_offset BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    source TEXT NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    payload_hash TEXT NOT NULL,
    payload TEXT,
    stage TEXT NOT NULL,
    event_partition INTEGER,
    event_offset BIGINT,
    PRIMARY KEY (log_partition, log_offset)
);
CREATE INDEX rejects_by_time ON rejects (time_ms DESC, log_partition DESC, log_offset DESC);
-- A repeat of the same refusal of the same record is none.
CREATE UNIQUE INDEX rejects_by_event ON rejects (event_partition, event_offset, code) WHERE event_offset IS NOT NULL;

-- Next offset that a reader has not taken up, and the cause of the last record that it did. Moved by compare-and-set.
CREATE TABLE reader_positions (
    reader TEXT NOT NULL,
    topic TEXT NOT NULL,
    log_partition INTEGER NOT NULL,
    position BIGINT NOT NULL,
    cause_offset BIGINT NOT NULL,
    cause_kind BIGINT NOT NULL,
    PRIMARY KEY (reader, topic, log_partition)
);
