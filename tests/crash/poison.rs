//! An event that ends the process: three crashes, then it is in quarantine, everything else is scored, and every replay leaves
//! out the same.
//!
//! The faults are planted by the environment, in programs that are built with checks (as tests are) only.

use crate::live::{Live, PATIENCE, events, until};
use crate::rounds::verify;
use serde_json::Value;
use std::time::Instant;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// Waits until the metric says so.
async fn metric(live: &Live, line: &str) {
    let since = Instant::now();
    while !live.get("/metrics").await.lines().any(|l| l == line) {
        assert!(since.elapsed() < PATIENCE, "no {line}:\n{}", live.stderr());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn crashes(live: &Live) -> usize {
    live.stderr().matches("it was at record 0/").count()
}

fn counts(report: &Value) -> [u64; 5] {
    ["raw_ids", "scored", "rejected", "quarantined", "missing"].map(|key| report[key].as_u64().unwrap())
}

#[test]
fn an_event_that_ends_the_process_three_times_is_left_out_and_the_rest_is_scored() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    // one ends an operator, one only fails to be read
    live.start(2, &[("PULSE_FAULT", "Entities:0/17,decode:0/23")]);
    runtime().block_on(async {
        live.ready().await;
        assert_eq!(live.send(&events(1, 0, 100)).await.len(), 100);
        let report = live.settled().await;
        assert_eq!(counts(&report), [100, 98, 1, 1, 0], "{}", live.stderr());
        metric(&live, "pulse_events_quarantined_total 1").await;
        let rejects = live.get("/api/v1/rejects").await;
        assert!(rejects.contains("\"quarantined\"") && rejects.contains("\"undecodable\""), "{rejects}");
    });
    assert_eq!(crashes(&live), 3, "{}", live.stderr());
    assert!(live.stderr().contains("it is in quarantine"), "{}", live.stderr());
    assert_eq!(live.terminate().0, Some(0));
    // without the fault the decision stands: it is in the log, not in the program
    live.start(3, &[]);
    runtime().block_on(async {
        live.ready().await;
        live.send(&events(1, 100, 200)).await;
        assert_eq!(counts(&live.settled().await)[3], 1);
    });
    assert_eq!(live.terminate().0, Some(0));
    live.audit();
    // a replay reads it now: what was undecodable is decoded, so only the scores before it are compared
    let log = std::fs::read(live.data().join("crashes.ndjson")).unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.lines().all(|line| line.contains("\"judged\":true")), "what was decided counts no more: {log}");
}

#[test]
fn an_alert_that_ends_the_process_is_left_out_and_its_score_stands() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    // the fifth tried card on one device: its score has left when the alert is made of it
    live.start(1, &[("PULSE_FAULT", "Report:0/384")]);
    runtime().block_on(async {
        live.ready().await;
        live.send(&events(2, 0, 420)).await;
        // scores leave first: that they are all there says nothing of the alert
        until("the alert has been tried three times", async || crashes(&live) == 3).await;
        live.ready().await;
        let report = live.settled().await;
        assert_eq!(counts(&report), [420, 420, 0, 0, 0], "{}", live.stderr());
    });
    assert_eq!(crashes(&live), 3, "{}", live.stderr());
    assert_eq!(live.terminate().0, Some(0));
    live.audit();
    verify(&live.data()).unwrap();
}

#[test]
fn a_replay_leaves_out_what_the_log_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start(2, &[("PULSE_FAULT", "Score:0/40")]);
    runtime().block_on(async {
        live.ready().await;
        live.send(&events(3, 0, 90)).await;
        assert_eq!(counts(&live.settled().await), [90, 89, 0, 1, 0]);
    });
    live.kill_tree();
    live.start(4, &[]);
    runtime().block_on(async {
        live.ready().await;
        live.send(&events(3, 90, 500)).await;
        live.settled().await;
    });
    assert_eq!(live.terminate().0, Some(0));
    live.audit();
    verify(&live.data()).unwrap();
}
