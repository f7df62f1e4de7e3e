//! Persist: once each, whatever happens in between.

use crate::place::Place;
use crate::records::*;
use pulse::log::MemoryLog;
use pulse::persist::{Options, Persist, PersistError, Worker};
use pulse::store::dialect::Dialect;
use pulse::store::query::{Span, alerts, events, incidents, labels, rejects, series};
use pulse::store::{Row, Store};
use pulse::telemetry::Metrics;
use pulse_dataflows::ports::{EventLog, Topic, partition};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn store(place: &Place) -> Arc<Store> {
    Arc::new(place.store().unwrap())
}

fn worker(log: &Arc<MemoryLog>, store: &Arc<Store>) -> Worker {
    Worker::open(log.clone(), store.clone(), &Options::default(), &Metrics::default()).unwrap()
}

fn count(store: &Store, table: &str) -> i64 {
    store.read(|db| db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))).unwrap()
}

fn page(limit: usize) -> Span {
    Span { limit, ..Span::default() }
}

#[test]
fn an_event_is_joined_with_its_raw_record_and_keeps_its_bytes() {
    let (dir, log) = (Place::new(), log());
    let store = store(&dir);
    let (raw, score) = (native("o-1", T0), scored("o-1", T0, 0.526));
    event(&log, &raw, &score);
    assert_eq!(worker(&log, &store).step().unwrap(), 1);
    let rows = store.read(|db| events::by_id(db, "o-1", None)).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].json, score.to_string());
    assert_eq!(rows[0].raw.as_deref(), Some(raw.to_string().as_str()));
    assert_eq!((rows[0].received_ms, rows[0].cause), (T0, (0, 0)));
    let names = store.read(|db| events::entities(db, &rows[0])).unwrap();
    assert_eq!(names, ["card:fp_1", "customer:c-42", "ip:203.0.113.9", "product:p-1", "terminal:t-1"]);
    let columns = "SELECT amount_minor, currency, country, category FROM scored_events";
    let get = |row: &Row| -> pulse::store::Result<(i64, String, String, String)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    };
    let found = store.read(|db| db.query_row(columns, [], get)).unwrap();
    assert_eq!(found, (12_990, "EUR".into(), "DE".into(), "shoes".into()));
}

#[test]
fn a_crash_between_batches_doubles_and_loses_nothing() {
    let (dir, log) = (Place::new(), log());
    for i in 0..5_000 {
        event(&log, &native(&format!("o-{i}"), T0 + i), &scored(&format!("o-{i}"), T0 + i, 0.1));
    }
    let mut rounds = 0;
    loop {
        // A new process each time: what is known is what the store says.
        let moved = worker(&log, &store(&dir)).step().unwrap();
        if moved == 0 {
            break;
        }
        rounds += 1;
    }
    let store = store(&dir);
    assert_eq!((rounds, count(&store, "scored_events")), (3, 5_000));
    let hours: i64 = store
        .read(|db| db.query_row("SELECT CAST(sum(events) AS BIGINT) FROM event_hours", [], |row| row.get(0)))
        .unwrap();
    assert_eq!(hours, 5_000, "the counts move with the rows");
}

#[test]
fn repeats_of_a_cause_are_dropped() {
    let (dir, log) = (Place::new(), log());
    let store = store(&dir);
    for _ in 0..2 {
        for i in 0..3u64 {
            let id = format!("o-{i}");
            put(&log, Topic::Scored, meta(T0, i, 0), scored(&id, T0, 0.7).to_string());
            let data = alert(
                "a-1",
                if i == 0 { "anomaly.opened" } else { "anomaly.amended" },
                &scored(&id, T0, 0.7),
                i + 1,
                T0,
            );
            put(&log, Topic::Alerts, meta(T0, i, 1), data.to_string());
        }
    }
    let mut one = worker(&log, &store);
    while one.step().unwrap() > 0 {}
    assert_eq!(count(&store, "scored_events"), 3);
    assert_eq!(count(&store, "alert_history"), 3);
    let alert = store.read(|db| alerts::get(db, "a-1")).unwrap().unwrap();
    assert_eq!((alert.count, alert.event_id.as_str()), (3, "o-2"), "an old record does not turn the state back");
}

/// Ids count once within 24 hours. Behind that an id is another event, and is scored as one. In a file the first row stays, and the
/// other is counted as a repeat; on PostgreSQL, whose key holds the time, both are there. The sums agree either way.
#[test]
fn an_id_that_comes_again_after_the_horizon_is_a_row_of_its_own_where_the_key_holds_the_time() {
    let (dir, log) = (Place::new(), log());
    let store = store(&dir);
    let later = T0 + 25 * 3_600_000;
    for (time_ms, score) in [(T0, 0.1), (later, 0.7)] {
        event(&log, &native("o-1", time_ms), &scored("o-1", time_ms, score));
    }
    assert_eq!(worker(&log, &store).step().unwrap(), 2);
    let rows = store.read(|db| events::by_id(db, "o-1", None)).unwrap();
    let times: Vec<i64> = rows.iter().map(|row| row.time_ms).collect();
    match store.dialect() {
        Dialect::Sqlite => assert_eq!(times, [T0]),
        Dialect::Postgres => assert_eq!(times, [T0, later]),
    }
    assert_eq!(count(&store, "scored_events"), times.len() as i64);
    let report = pulse::audit::audit(&*log, &store).unwrap();
    assert!(report.agrees, "{report:#?}");
}

/// The newest record repeats an id whose first record the log has forgotten, as after a move: nothing will ever come out of it.
#[test]
fn a_repeat_of_what_the_log_has_forgotten_is_a_duplicate_and_not_in_flight() {
    let (dir, log) = (Place::new(), log());
    let store = store(&dir);
    for id in ["o-1", "o-2"] {
        event(&log, &native(id, T0), &scored(id, T0, 0.1));
    }
    assert_eq!(worker(&log, &store).step().unwrap(), 2);
    [Topic::Raw, Topic::Scored].iter().for_each(|topic| log.trim(partition(*topic, 0), 1).unwrap());
    for id in ["o-1", "o-3"] {
        put(&log, Topic::Raw, meta(T0, 0, 0), native(id, T0).to_string());
    }
    let report = pulse::audit::audit(&*log, &store).unwrap();
    let sums = (report.raw, report.scored, report.duplicate, report.in_flight, report.agrees);
    assert_eq!(sums, (3, 1, 1, 1, true), "{report:#?}");
}

#[test]
fn the_second_reader_of_one_name_is_fenced() {
    let (dir, log) = (Place::new(), log());
    let store = store(&dir);
    event(&log, &native("o-1", T0), &scored("o-1", T0, 0.1));
    let (mut first, mut second) = (worker(&log, &store), worker(&log, &store));
    assert_eq!(first.step().unwrap(), 1);
    event(&log, &native("o-2", T0), &scored("o-2", T0, 0.1));
    assert!(matches!(second.step(), Err(PersistError::Fenced)));
    assert_eq!(count(&store, "scored_events"), 1, "a fenced reader writes nothing");
    assert_eq!(first.step().unwrap(), 1);
}

/// Readers of one name as processes of their own have them: one works, another takes over when that one has ended.
#[test]
fn of_two_readers_one_writes_and_the_other_takes_over() {
    let (dir, log) = (Place::new(), log());
    let store = store(&dir);
    let start = || Persist::start(log.clone(), store.clone(), &Options::default(), &Metrics::default()).unwrap();
    let mut sent = 0;
    let mut more = |n: i64| {
        for i in sent..sent + n {
            event(&log, &native(&format!("o-{i}"), T0 + i), &scored(&format!("o-{i}"), T0 + i, 0.1));
        }
        sent += n;
        let begun = Instant::now();
        while count(&store, "scored_events") < sent {
            assert!(begun.elapsed() < Duration::from_secs(30), "{sent} sent, {}", count(&store, "scored_events"));
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let mut readers = vec![start(), start()];
    for _ in 0..2 {
        // who stands by looks once a second only
        let at = partition(Topic::Scored, 0);
        let works = loop {
            more(3);
            std::thread::sleep(Duration::from_millis(20));
            let here = readers.iter().map(|reader| reader.position(at) == Some(log.end(at)));
            match here.collect::<Vec<_>>()[..] {
                [true, false] => break 0,
                [false, true] => break 1,
                _ => assert!(readers.iter().all(|reader| !reader.stopped())),
            }
        };
        readers.remove(works).stop().unwrap();
        more(3);
        readers.push(start());
    }
    readers.into_iter().for_each(|reader| reader.stop().unwrap());
    assert_eq!(count(&store, "scored_events"), sent);
    let hours = store
        .read(|db| db.query_row("SELECT CAST(sum(events) AS BIGINT) FROM event_hours", [], |row| row.get::<i64>(0)));
    assert_eq!(hours.unwrap(), sent, "each was counted once");
}

#[test]
fn alerts_incidents_labels_series_and_refusals_arrive() {
    let (dir, log) = (Place::new(), log());
    let store = store(&dir);
    let score = scored("o-1", T0, 0.7);
    put(&log, Topic::Alerts, meta(T0, 0, 1), alert("a-1", "anomaly.opened", &score, 1, T0).to_string());
    let resolved = json!({"type": "anomaly.resolved", "timestamp": T0 + 9, "data": {"alert_id": "a-1", "count": 1}});
    put(&log, Topic::Alerts, meta(T0, 7, 1), resolved.to_string());
    put(&log, Topic::Alerts, meta(T0, 1, 2), incident("i-1", "incident.opened", T0).to_string());
    put(&log, Topic::Alerts, meta(T0, 2, 2), incident("s-1", "silence.detected", T0 + 1).to_string());
    put(
        &log,
        Topic::Alerts,
        meta(T0, 3, 9),
        json!({"type": "model.promoted", "timestamp": T0, "data": {}}).to_string(),
    );
    let points = json!({"type": "series.closed", "timestamp": T0, "data": {"bucket": "1m", "bucket_ms": T0,
        "segments": [{"dimensions": {}, "points": {"orders": [50.0, 40.0, 60.0]}},
                     {"dimensions": {"b": "2", "a": 1}, "points": {"orders": [5, null, null]}, "anomalous": ["orders"]}]}});
    put(&log, Topic::Alerts, meta(T0, 4, 9), points.to_string());
    let label = json!({"time": T0, "alert_id": "a-1", "verdict": "true_positive", "origin": "person", "by": "anna"});
    put(&log, Topic::Labels, meta(T0, 0, 0), label.to_string());
    let refusal = json!({"time": T0, "source": "web", "code": "invalid_json", "message": "no", "payload_hash": "ab",
        "payload": "{\u{0}", "stage": "gateway", "partition": null, "offset": null});
    put(&log, Topic::Rejected, meta(T0, 0, 0), refusal.to_string());
    put(&log, Topic::Scored, meta(T0, 9, 0), b"\xff no JSON");
    let mut one = worker(&log, &store);
    while one.step().unwrap() > 0 {}
    assert_eq!(one.lag(), 0);

    let found = store.read(|db| alerts::get(db, "a-1")).unwrap().unwrap();
    assert_eq!(
        (found.status.as_str(), found.resolved_ms, found.severity.as_str()),
        ("resolved", Some(T0 + 9), "warning")
    );
    assert_eq!((found.event_id.as_str(), found.entity.as_deref()), ("o-1", Some("customer:c-42")));
    assert!(found.json.contains("\"event\""), "a record without the event does not wipe it");
    assert_eq!(store.read(|db| alerts::history(db, "a-1")).unwrap().len(), 2);
    let all = store.read(|db| incidents::list(db, &alerts::StateFilter::default(), &page(10))).unwrap().items;
    assert_eq!(all.iter().map(|one| one.kind.as_str()).collect::<Vec<_>>(), ["silence", "incident"]);
    assert_eq!((all[1].dimensions.as_str(), all[1].expected), ("app=ios,region=eu", Some((40.0, 60.0))));
    assert_eq!(store.read(|db| labels::in_force(db, "alert:a-1")).unwrap().len(), 1);
    let names = store.read(|db| series::names(db, T0)).unwrap();
    assert_eq!(names, [("orders".to_owned(), String::new()), ("orders".to_owned(), "a=1,b=2".to_owned())]);
    let refused = store.read(|db| rejects::list(db, None, &page(10))).unwrap().items;
    let codes: Vec<&str> = refused.iter().map(|one| one.code.as_str()).collect();
    assert!(codes.contains(&"invalid_json") && codes.contains(&"unreadable_record"), "{codes:?}");
}

#[test]
fn what_was_trimmed_is_passed_over_and_counted() {
    let (dir, log) = (Place::new(), log());
    for i in 0..10 {
        put(&log, Topic::Scored, meta(T0, i, 0), scored(&format!("o-{i}"), T0, 0.1).to_string());
    }
    log.trim(partition(Topic::Scored, 0), 4).unwrap();
    let store = store(&dir);
    assert_eq!(worker(&log, &store).step().unwrap(), 10);
    assert_eq!(count(&store, "scored_events"), 6);
}

#[test]
fn a_stop_with_a_backlog_leaves_in_time_and_the_next_start_reads_the_rest() {
    let (dir, log) = (Place::new(), log());
    for i in 0..20_000 {
        event(&log, &native(&format!("o-{i}"), T0 + i), &scored(&format!("o-{i}"), T0 + i, 0.1));
    }
    let store = store(&dir);
    let start = || Persist::start(log.clone(), store.clone(), &Options::default(), &Metrics::default()).unwrap();
    start().stop_within(Duration::ZERO).unwrap();
    let before = count(&store, "scored_events");
    assert!(before < 20_000, "one batch at most was in hand");
    start().stop().unwrap();
    assert_eq!(count(&store, "scored_events"), 20_000);
}
