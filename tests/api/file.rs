//! What is SQLite's own: its plans, and its one writer.

use crate::place::Place;
use crate::records::*;
use pulse::persist::{Options, Persist};
use pulse::store::{Store, Target};
use pulse::telemetry::Metrics;
use pulse_dataflows::ports::{Topic, partition};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn the_lists_use_their_indexes() {
    let place = Place::new();
    let store = place.store().unwrap();
    let plan = |condition: &str| -> String {
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT json FROM scored_events e {condition} ORDER BY e.time_ms DESC, e.event_id DESC, e.source DESC"
        );
        store
            .read(|db| {
                let mut statement = db.prepare(&sql)?;
                let lines = statement.query_map([], |row| row.get::<String>(3))?;
                Ok(lines.collect::<pulse::store::Result<Vec<_>>>()?.join("; "))
            })
            .unwrap()
    };
    assert!(plan("WHERE (e.time_ms, e.event_id, e.source) < (5, 'a', 'b')").contains("scored_events_by_time"));
    assert!(plan("WHERE e.decision = 'anomaly'").contains("scored_events_anomalies"));
    assert!(plan("WHERE e.score >= 0.5 AND e.score >= 0.7").contains("scored_events_high"));
    for condition in ["", "WHERE e.decision = 'anomaly'"] {
        assert!(!plan(condition).contains("TEMP B-TREE"), "sorting: {}", plan(condition));
    }
}

#[test]
fn a_locked_store_only_delays() {
    let (place, log) = (Place::new(), log());
    let persist = Persist::start(log.clone(), store(&place), &Options::default(), &Metrics::default()).unwrap();
    let Target::File(file) = place.target() else { panic!("no file") };
    let other = rusqlite::Connection::open(file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    for i in 0..100 {
        event(&log, &native(&format!("o-{i}"), T0), &scored(&format!("o-{i}"), T0, 0.1));
    }
    assert!(started.elapsed() < Duration::from_secs(1), "appending does not wait for the store");
    other.execute_batch("ROLLBACK").unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while persist.position(partition(Topic::Scored, 0)) != Some(100) {
        assert!(Instant::now() < end, "persist did not come back");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(persist.position(partition(Topic::Raw, 0)), Some(100));
    persist.stop().unwrap();
    assert_eq!(
        store(&place).read(|db| db.query_row("SELECT count(*) FROM scored_events", [], |r| r.get::<i64>(0))).unwrap(),
        100
    );
}

fn store(place: &Place) -> Arc<Store> {
    Arc::new(place.store().unwrap())
}

#[test]
fn a_store_is_opened_while_another_process_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(pulse::store::FILE);
    drop(Store::open(&path).unwrap());
    let writer = rusqlite::Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = std::time::Instant::now();
    Store::open(&path).unwrap();
    assert!(begun.elapsed().as_secs() < 3, "waited for who writes");
}
