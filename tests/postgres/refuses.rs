//! A server that answers and refuses, while the program works: no space, no rights any more, another password. Each is tried again with
//! its reason, and when it is over every row is there once.

use crate::faults::{fill, until, whole};
use crate::place::{Place, free, script, script_with, server, target};
use crate::records::log;
use pulse::log::MemoryLog;
use pulse::persist::{Options, Persist, Worker};
use pulse::store::Store;
use pulse::telemetry::Metrics;
use pulse_dataflows::ports::{Topic, partition};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// What a step of persist says is wrong.
fn refused(log: &Arc<MemoryLog>, store: &Arc<Store>) -> String {
    let mut worker = Worker::open(log.clone(), store.clone(), &Options::default(), &Metrics::default()).unwrap();
    worker.step().unwrap_err().to_string()
}

/// The reader at work: it must not have caught up before, and does now, with tries counted if it had to wait.
fn goes_on(log: &Arc<MemoryLog>, store: &Arc<Store>, n: u64) {
    let persist = Persist::start(log.clone(), store.clone(), &Options::default(), &Metrics::default()).unwrap();
    until("persist", || persist.position(partition(Topic::Scored, 0)) == Some(n));
    persist.stop().unwrap();
}

#[test]
fn a_full_disk_under_the_tables_is_told_and_waited_for() {
    let dir = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir().unwrap();
    let (library, flag) = (dir.path().join("full.so"), dir.path().join("full"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postgres/full.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .status();
    assert!(made.expect("a C compiler, as for SQLite").success());
    let port = free().port();
    let in_front = [("LD_PRELOAD", library.to_str().unwrap()), ("PULSE_FULL", flag.to_str().unwrap())];
    script_with(port, &["start", &std::process::id().to_string()], &in_front);
    let (place, log, metrics) = (Place::on(port), log(), Metrics::default());
    let store = Arc::new(place.store().unwrap());
    fill(&log, 0..1_000);
    goes_on(&log, &store, 1_000);
    std::fs::write(&flag, "").unwrap();
    fill(&log, 1_000..5_000);
    let said = refused(&log, &store);
    assert!(said.contains("53100") && said.contains("No space left"), "{said}");
    let persist = Persist::start(log.clone(), store.clone(), &Options::default(), &metrics).unwrap();
    let shown = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.lock().unwrap()).unwrap();
        text
    };
    until("tries to be counted", || shown().contains("persist_retries_total 2"));
    assert_eq!(store.up().get(), 1, "the server answers");
    std::fs::remove_file(&flag).unwrap();
    until("persist", || persist.position(partition(Topic::Scored, 0)) == Some(5_000));
    persist.stop().unwrap();
    whole(&place, 5_000);
    script(port, &["wipe"]);
}

#[test]
fn rights_and_passwords_that_are_taken_away_are_told_and_waited_for() {
    let (place, log) = (Place::on(server()), log());
    let mut admin = place.client();
    let mut sql = |sql: &str| crate::place::apart(|| admin.batch_execute(sql).unwrap());
    sql(
        "CREATE ROLE pw_users; CREATE ROLE held LOGIN PASSWORD 'richtig' IN ROLE pw_users; GRANT CREATE ON SCHEMA public TO held",
    );
    let url = format!("postgresql://held:richtig@127.0.0.1:{}/{}", place.port, place.name);
    let store = Arc::new(crate::place::apart(|| Store::at(&target(url))).unwrap());
    fill(&log, 0..1_000);
    goes_on(&log, &store, 1_000);

    fill(&log, 1_000..2_000);
    sql("REVOKE INSERT ON scored_events FROM held");
    let said = refused(&log, &store);
    assert!(said.contains("permission denied for table scored_events"), "{said}");
    sql("GRANT INSERT ON scored_events TO held");
    goes_on(&log, &store, 2_000);

    fill(&log, 2_000..3_000);
    sql("ALTER ROLE held PASSWORD 'anders'");
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'held'");
    let mut said = String::new();
    until("the password to be refused", || {
        let opened = Worker::open(log.clone(), store.clone(), &Options::default(), &Metrics::default());
        said = opened.err().map_or(String::new(), |e| e.to_string());
        said.contains("28P01")
    });
    assert!(!said.contains("richtig"), "{said}");
    assert_eq!(store.up().get(), 0);
    sql("ALTER ROLE held PASSWORD 'richtig'");
    goes_on(&log, &store, 3_000);
    assert_eq!(store.up().get(), 1);
    whole(&place, 3_000);
}
