//! Each metric moves when its thing happens: one process, one thing after another.

use crate::program::{Program, events};
use serde_json::json;
use std::collections::BTreeMap;

/// The sum of the samples that begin so.
fn sum(metrics: &BTreeMap<String, f64>, name: &str) -> f64 {
    let of = |n: &str| n == name || n.starts_with(&format!("{name}{{")) || (name.contains('{') && n.starts_with(name));
    metrics.iter().filter(|(n, _)| of(n)).map(|(_, value)| value).sum()
}

/// What happens once all is through, as beginnings of samples and the sum they must have.
const EXACT: &[(&str, f64)] = &[
    ("pulse_events_received_total{source=\"shop\",type=\"order.completed\"}", 210.0),
    ("pulse_events_received_total", 213.0),
    ("pulse_events_rejected_total{code=\"invalid_json\"}", 1.0),
    ("pulse_events_duplicate_total", 10.0),
    ("pulse_events_late_total", 1.0),
    ("pulse_events_scored_total", 202.0),
    ("pulse_events_unreadable_total", 0.0),
    ("pulse_card_numbers_masked_total", 1.0),
    ("pulse_rule_failures_total", 4.0),
    // the planted ones; what is thought of the carts depends on the hour at which the test runs
    ("pulse_alerts_total{kind=\"anomaly\",severity=\"critical\"}", 4.0),
    ("pulse_incidents_open", 0.0),
    ("pulse_entities{kind=\"customer\"}", 40.0),
    ("pulse_entities{kind=\"device\"}", 200.0),
    ("pulse_entities{kind=\"product\"}", 9.0),
    ("pulse_entities{kind=\"extra\"}", 1.0),
    ("pulse_entities_evicted_total", 0.0),
    ("pulse_duplicate_ids", 202.0),
    ("pulse_model_info{version=\"global_model@v0\",alias=\"champion\"}", 1.0),
    ("pulse_checkpoints_total{outcome=\"failed\"}", 0.0),
    ("pulse_log_refused_total", 0.0),
    ("pulse_persist_lag_records", 0.0),
    ("pulse_persist_repeats_total", 0.0),
    ("pulse_persist_lost_records_total", 0.0),
    ("pulse_webhook_lag_records", 0.0),
    ("pulse_webhook_endpoint_enabled", 1.0),
    ("pulse_webhook_dead_letters", 0.0),
    ("pulse_ingest_to_alert_duration_seconds_count", 2.0),
    ("pulse_stage_duration_seconds_count{stage=\"notify\"}", 2.0),
    ("pulse_http_bytes_in_flight", 0.0),
    ("pulse_rejects_not_kept_total", 0.0),
    ("pulse_build_info", 1.0),
];

/// What must be more than nothing.
const SOME: &[&str] = &[
    "pulse_stage_duration_seconds_count{stage=\"accept\"}",
    "pulse_stage_duration_seconds_count{stage=\"append\"}",
    "pulse_stage_duration_seconds_count{stage=\"enrich\"}",
    "pulse_stage_duration_seconds_count{stage=\"score\"}",
    "pulse_stage_duration_seconds_count{stage=\"persist\"}",
    "pulse_http_request_duration_seconds_count{route=\"/api/v1/events:batch\",method=\"POST\",status=\"200\"}",
    "pulse_last_event_received_timestamp_seconds{source=\"shop\",type=\"order.completed\"}",
    "pulse_webhook_attempts_total",
    "pulse_alerts_suppressed_total{reason=\"budget\"}",
    "pulse_alerts_open",
    "pulse_series_segments",
    "pulse_model_trained_timestamp_seconds",
    "pulse_checkpoints_total{outcome=\"written\"}",
    "pulse_checkpoint_size_bytes",
    "pulse_checkpoint_last_success_timestamp_seconds",
    "pulse_checkpoint_duration_seconds_count",
    "pulse_log_commits_total",
    "pulse_log_syncs_total",
    "pulse_log_sync_duration_seconds_count",
    "pulse_log_wal_pages",
    "pulse_epochs_total",
    "pulse_persist_records_total",
    "pulse_process_resident_memory_bytes",
    "pulse_process_cpu_seconds_total",
    "pulse_process_open_fds",
];

#[tokio::test]
async fn each_metric_moves_when_its_thing_happens() {
    let mut program = Program::start("[budget]\nalerts_per_day = 1\n").await;
    program.receive().await;
    let ago = |minutes| (jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes)).to_string();
    // two minutes old, so that what comes later closes their minute
    let mut orders = events(0, 200);
    orders.iter_mut().for_each(|order| order["time"] = ago(2).into());
    assert_eq!(program.batch(&orders).await["accepted"], 200);
    assert_eq!(program.batch(&events(0, 10)).await["duplicate"], 10);
    let single = format!("http://{}/api/v1/events", program.gateway);
    assert_eq!(program.post(&single, "{".into(), "application/json").await.0, 400);
    // half an hour old, and with a card number in it
    let late = json!({"type": "cart.added", "time": ago(30), "properties": {"note": "4111 1111 1111 1111"}});
    assert_eq!(program.post(&single, late.to_string(), "application/json").await.0, 200);
    let terminal = json!({"type": "cart.added", "entities": {"terminal": "t-1"}});
    assert_eq!(program.post(&single, terminal.to_string(), "application/json").await.0, 200);
    program.settle(202).await;
    let metrics = program.metrics().await;
    let wrong: Vec<_> = EXACT.iter().filter(|(name, value)| sum(&metrics, name) != *value).collect();
    let none: Vec<_> = SOME.iter().filter(|name| sum(&metrics, name) <= 0.0).collect();
    assert!(wrong.is_empty() && none.is_empty(), "{wrong:#?} {none:#?} in {metrics:#?}");
    assert!(metrics["pulse_events_scored_total{decision=\"anomaly\"}"] >= 4.0);
    assert!(metrics["pulse_watermark_lag_seconds"].abs() < 60.0 && metrics["pulse_epochs_in_flight"] < 9.0);
    program.stop().await;
}
