//! Every metric name, once. Prometheus adds `_total` to counters; the registry adds the prefix `pulse_`.

#![allow(missing_docs)] // a name says what it is; the help text stands where it is registered

pub const EVENTS_RECEIVED: &str = "events_received";
pub const EVENTS_REJECTED: &str = "events_rejected";
pub const EVENTS_DUPLICATE: &str = "events_duplicate";
pub const EVENTS_LATE: &str = "events_late";
pub const EVENTS_SCORED: &str = "events_scored";
pub const EVENTS_REPEATED: &str = "events_repeated";
pub const EVENTS_QUARANTINED: &str = "events_quarantined";
pub const ANOMALIES: &str = "anomalies";
pub const CARD_NUMBERS_MASKED: &str = "card_numbers_masked";
pub const STAGE_DURATION: &str = "stage_duration_seconds";
pub const INGEST_TO_ALERT_DURATION: &str = "ingest_to_alert_duration_seconds";
pub const HTTP_REQUEST_DURATION: &str = "http_request_duration_seconds";
pub const HTTP_BYTES_IN_FLIGHT: &str = "http_bytes_in_flight";
pub const REJECTS_NOT_KEPT: &str = "rejects_not_kept";
pub const LAST_EVENT_RECEIVED: &str = "last_event_received_timestamp_seconds";
pub const WATERMARK_LAG: &str = "watermark_lag_seconds";
pub const WEBHOOK_ATTEMPTS: &str = "webhook_attempts";
pub const WEBHOOK_QUEUE_DEPTH: &str = "webhook_queue_depth";
pub const WEBHOOK_DEAD_LETTERS: &str = "webhook_dead_letters";
pub const WEBHOOK_ENDPOINT_ENABLED: &str = "webhook_endpoint_enabled";
pub const WEBHOOK_RECORDS_SKIPPED: &str = "webhook_records_skipped";
pub const PERSIST_LAG: &str = "persist_lag_records";
pub const LOG_COMMITS: &str = "log_commits";
pub const LOG_SYNCS: &str = "log_syncs";
pub const LOG_REFUSED: &str = "log_refused";
pub const LOG_RETRIED: &str = "log_retried";
pub const KAFKA_LAG: &str = "kafka_consumer_lag_records";
pub const EPOCHS: &str = "epochs";
pub const EPOCHS_IN_FLIGHT: &str = "epochs_in_flight";
pub const PERSIST_RECORDS: &str = "persist_records";
pub const PERSIST_REPEATS: &str = "persist_repeats";
pub const PERSIST_RETRIES: &str = "persist_retries";
pub const PERSIST_LOST: &str = "persist_lost_records";
