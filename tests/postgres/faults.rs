//! What breaks: answers that are lost, servers that die, locks, deadlocks, connections that run out.

use crate::place::{CONNECTIONS, Place, script, server, target};
use crate::proxy::{Mode, Proxy};
use crate::records::*;
use pulse::deliver::DeliverConfig;
use pulse::log::MemoryLog;
use pulse::persist::{Options, Persist, PersistError, Worker};
use pulse::store::{Error, Settings, Store, Target, Url};
use pulse::telemetry::Metrics;
use pulse_dataflows::ports::{Topic, partition};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn worker(log: &Arc<MemoryLog>, store: &Arc<Store>) -> Worker {
    Worker::open(log.clone(), store.clone(), &Options::default(), &Metrics::default()).unwrap()
}

pub fn fill(log: &MemoryLog, ids: std::ops::Range<i64>) {
    for i in ids {
        event(log, &native(&format!("o-{i}"), T0 + i), &scored(&format!("o-{i}"), T0 + i, 0.1));
    }
}

/// Rows, entities and counts: each once.
pub fn whole(place: &Place, events: i64) {
    let mut client = place.client();
    let mut one = |sql: &str| client.query_one(sql, &[]).unwrap().get::<_, i64>(0);
    assert_eq!(one("SELECT count(*) FROM scored_events"), events);
    assert_eq!(one("SELECT sum(events)::bigint FROM event_hours"), events);
    assert_eq!(one("SELECT count(*) FROM event_entities"), events * 5);
}

pub fn until(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed().as_secs() < 60, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The metrics as they are scraped.
fn shown(metrics: &Metrics) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.lock().unwrap()).unwrap();
    text
}

#[test]
fn a_commit_without_an_answer_counts_once() {
    for mode in [Mode::CutAfterCommit, Mode::CutBeforeCommit] {
        let (place, log) = (Place::new(), log());
        fill(&log, 0..5_000);
        let proxy = Proxy::to(place.port);
        let url = place.url().replace(&place.port.to_string(), &proxy.port.to_string());
        let store = Arc::new(Store::at(&target(url)).unwrap());
        let mut worker = worker(&log, &store);
        let mut lost = 0;
        // every second batch
        for round in 0.. {
            if round % 2 == 0 {
                store.make_days([T0].into_iter()).unwrap();
                proxy.next(mode.clone());
            }
            match worker.step() {
                Ok(0) => break,
                Ok(_) => {}
                Err(PersistError::Store(Error::InDoubt(_))) => lost += 1,
                Err(error) => panic!("{error}"),
            }
            if round % 2 == 0 {
                assert!(proxy.cut(), "it was not cut");
            }
        }
        assert!(lost >= 2, "{lost} answers lost");
        whole(&place, 5_000);
    }
}

#[test]
fn a_server_that_dies_or_turns_read_only_and_comes_back_costs_nothing() {
    let port = server();
    let (place, log, metrics) = (Place::on(port), log(), Metrics::default());
    let store = Arc::new(place.store().unwrap());
    let persist = Persist::start(log.clone(), store.clone(), &Options::default(), &metrics).unwrap();
    let up = store.up();
    let caught_up = |n: u64| until("persist", || persist.position(partition(Topic::Scored, 0)) == Some(n));
    fill(&log, 0..1_000);
    caught_up(1_000);
    script(port, &["crash"]);
    let started = Instant::now();
    fill(&log, 1_000..2_000);
    assert!(started.elapsed() < Duration::from_secs(2), "nobody waits for the store");
    until("the gauge", || up.get() == 0);
    let asked = store.read(|db| db.query_row("SELECT 1", [], |row| row.get::<i64>(0)));
    assert!(matches!(asked, Err(Error::Connect(_))), "{asked:?}");
    script(port, &["start"]);
    caught_up(2_000);
    assert_eq!(up.get(), 1);
    assert!(!shown(&metrics).contains("persist_retries_total 0"), "tries are counted");

    // what was the primary is a read-only one for a while
    script(
        port,
        &["psql", "-c", "ALTER SYSTEM SET default_transaction_read_only = on", "-c", "SELECT pg_reload_conf()"],
    );
    fill(&log, 2_000..3_000);
    until("the gauge", || up.get() == 0);
    let back = "SET default_transaction_read_only = off; ALTER SYSTEM RESET default_transaction_read_only";
    let words: Vec<&str> = back.split("; ").flat_map(|sql| ["-c", sql]).collect();
    script(port, &[&["psql"], words.as_slice(), &["-c", "SELECT pg_reload_conf()"]].concat());
    caught_up(3_000);
    persist.stop().unwrap();
    whole(&place, 3_000);
}

#[test]
fn a_store_that_lost_its_last_commits_gets_them_again() {
    let (place, log) = (Place::new(), log());
    let store = Arc::new(place.store().unwrap());
    let mut worker = worker(&log, &store);
    fill(&log, 0..100);
    assert_eq!(worker.step().unwrap(), 100);
    // a server without its last transaction: rows and position are those from before
    let lost = "DELETE FROM scored_events; DELETE FROM event_entities; DELETE FROM event_hours; UPDATE reader_positions SET position = 0, cause_offset = -1, cause_kind = 0";
    place.client().batch_execute(lost).unwrap();
    fill(&log, 100..200);
    assert!(matches!(worker.step(), Err(PersistError::TakenBack)));
    while worker.step().unwrap() > 0 {}
    whole(&place, 200);
}

#[test]
fn a_position_that_was_never_on_the_disk_is_made_again() {
    let (place, log) = (Place::new(), log());
    let store = Arc::new(place.store().unwrap());
    let mut worker = worker(&log, &store);
    fill(&log, 0..100);
    place.client().batch_execute("DELETE FROM reader_positions").unwrap();
    assert!(matches!(worker.step(), Err(PersistError::TakenBack)));
    while worker.step().unwrap() > 0 {}
    whole(&place, 100);
}

#[test]
fn a_locked_table_and_a_deadlock_only_delay() {
    let (place, log, metrics) = (Place::new(), log(), Metrics::default());
    let store = Arc::new(place.store().unwrap());
    fill(&log, 0..100);
    assert_eq!(worker(&log, &store).step().unwrap(), 100);
    let persist = Persist::start(log.clone(), store.clone(), &Options::default(), &metrics).unwrap();
    // what persist needs second is taken first, and the other way round: one of the two has to give way
    let mut other = place.client();
    other.batch_execute("SET deadlock_timeout = 60000; BEGIN; UPDATE event_hours SET events = events").unwrap();
    let started = Instant::now();
    fill(&log, 100..200);
    assert!(started.elapsed() < Duration::from_secs(1), "nobody waits for the store");
    std::thread::sleep(Duration::from_millis(300));
    other.batch_execute("UPDATE reader_positions SET position = position; COMMIT").unwrap();
    until("persist", || persist.position(partition(Topic::Scored, 0)) == Some(200));
    assert!(!shown(&metrics).contains("persist_retries_total 0"), "persist gave way and tried again");

    other.batch_execute("BEGIN; LOCK TABLE scored_events IN ACCESS EXCLUSIVE MODE").unwrap();
    fill(&log, 200..300);
    // longer than a lock is waited for
    std::thread::sleep(Duration::from_millis(5_500));
    assert_eq!(store.up().get(), 1, "a lock is no loss of the store");
    store.write(|tx| tx.execute("UPDATE api_keys SET name = name", [])).unwrap();
    other.batch_execute("COMMIT").unwrap();
    until("persist", || persist.position(partition(Topic::Scored, 0)) == Some(300));
    persist.stop().unwrap();
    whole(&place, 300);
}

#[test]
fn connections_run_out_for_a_time_and_questions_are_still_answered() {
    let place = Place::new();
    let settings = Settings { url: Url(place.url()), connections: 2 };
    let store = Arc::new(Store::at(&Target::Server(settings)).unwrap());
    let busy = store.clone();
    let thread = std::thread::spawn(move || {
        busy.write(|_| {
            std::thread::sleep(Duration::from_millis(6_500));
            Ok(())
        })
    });
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(store.read(|db| db.query_row("SELECT 1", [], |row| row.get::<i64>(0))).unwrap(), 1);
    let error = store.write(|_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Exhausted(2)) && error.to_string().contains("store.connections"), "{error}");
    thread.join().unwrap().unwrap();
    store.write(|_| Ok(())).unwrap();
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pulse'";
    let open: i64 = place.client().query_one(sessions, &[]).unwrap().get(0);
    assert!((1..=CONNECTIONS as i64).contains(&open), "{open} connections");
}

#[test]
fn days_are_made_ahead_and_dropped_whole() {
    let place = Place::new();
    let store = place.store().unwrap();
    let day = 86_400_000;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let mut client = place.client();
    let mut days = || -> i64 {
        let sql = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'scored_events'::regclass";
        client.query_one(sql, &[]).unwrap().get(0)
    };
    assert_eq!(days(), 4, "today, two days to come, and the default");
    let rows: Vec<_> = [0, 10, 20, 390, 500]
        .into_iter()
        .map(|back| pulse::store::rows::ScoredRow {
            event_id: format!("o-{back}"),
            source: "web".into(),
            time_ms: now - back * day,
            json: "{}".into(),
            entities: vec![("customer".into(), "c".into())],
            ..Default::default()
        })
        .collect();
    store.make_days(rows.iter().map(|row| row.time_ms)).unwrap();
    assert_eq!(days(), 7, "what is older than days are kept for goes into the default");
    assert_eq!(store.write(|tx| pulse::store::rows::add_all_scored(tx, &rows)).unwrap(), 5);
    assert_eq!(store.write(|tx| pulse::store::rows::add_all_scored(tx, &rows)).unwrap(), 0, "repeats are dropped");
    while store.forget_step(now - 15 * day).unwrap() > 0 {}
    assert_eq!(days(), 5);
    let left =
        store.read(|db| db.query_row("SELECT count(*) FROM scored_events", [], |row| row.get::<i64>(0))).unwrap();
    let named =
        store.read(|db| db.query_row("SELECT count(*) FROM event_entities", [], |row| row.get::<i64>(0))).unwrap();
    assert_eq!((left, named), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deliveries_share_one_store() {
    use crate::world::{World, arrived, config_to, receiver};
    let (world, receiver) = (World::new(), receiver().await);
    let config =
        || DeliverConfig { rate_per_s: 1e3, burst: 1_000, total_rate_per_s: 1e3, ..config_to(&receiver.url()) };
    let (one, other) = (world.start(config()), world.start(config()));
    (0..200).for_each(|n| world.alert(n));
    crate::world::until("all to be delivered", || world.in_state("delivered") == 200).await;
    let got = arrived(&receiver, 200).await;
    assert!(got.len() == 200 && got.iter().all(|message| message.valid && !message.repeat), "each once");
    one.stop().await;
    other.stop().await;
    world.agrees();
}

/// The session by which a process is seen to live is ended under it, while it has an attempt in hand: it shows itself again, and
/// the other does not take the attempt over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_living_process_has_in_hand_is_sent_by_nobody_else() {
    use crate::world::{World, arrived, config_to, receiver_with};
    let receiver = receiver_with(pulse::receiver::ReceiverArgs { delay_ms: 9_000, ..Default::default() }).await;
    let world = World::new();
    let config = || DeliverConfig { timeout_ms: 14_000, ..config_to(&receiver.url()) };
    let one = world.start(config());
    world.alert(1);
    arrived(&receiver, 1).await;
    let other = world.start(config());
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(world.count(ended), 2);
    tokio::time::timeout(Duration::from_secs(20), async {
        while world.in_state("delivered") == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    one.stop().await;
    other.stop().await;
    assert_eq!(receiver.received().len(), 1);
    world.agrees();
}
