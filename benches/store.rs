//! How fast records get from the log into the store, and how large they are there: `cargo bench --bench store -- [events] [url]`.
//! With the address of an empty PostgreSQL database also into that, beside a bare COPY of the same rows into the same tables.
//!
//! A log with a simulated shop's events, scored as they are live, is read by persist, one transaction after another on this
//! thread. Rows are scored events; their entities, hours and series are written with them.
//! Deliberately absent: what the disk costs when everything is on; see `latency`.

use pulse::engine::objects::Objects;
use pulse::engine::registry::Registry;
use pulse::engine::{Engine, Options};
use pulse::log::SqliteLog;
use pulse::persist::{self, Worker};
use pulse::simulate::{Shop, ShopConfig};
use pulse::store::{Settings, Store, Target, Url};
use pulse::telemetry::Metrics;
use pulse_dataflows::ports::{EventLog, Meta, Records, Request, Topic, partition};
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHUNK: usize = 1_000;
/// Times that PostgreSQL is filled.
const ROUNDS: usize = 3;

fn main() {
    let events = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(50_000);
    let dir = tempfile::tempdir().expect("a folder");
    let (log, raw) = log(dir.path(), events);
    let path = dir.path().join("store.db");
    let store = Arc::new(Store::open(&path).expect("a store"));
    let mut worker =
        Worker::open(log.clone(), store, &persist::Options::default(), &Metrics::default()).expect("a worker");
    let (began, cpu) = (Instant::now(), cpu_s());
    let mut records = 0;
    loop {
        match worker.step().expect("a step") {
            0 => break,
            n => records += n,
        }
    }
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_s() - cpu);
    let per = |x: f64| x / events as f64;
    println!(
        "{events} events, {records} records: {:.0} events/s, {:.0} us of CPU an event",
        1.0 / per(wall),
        per(cpu) * 1e6
    );
    let size = |p: &std::path::Path| std::fs::metadata(p).map_or(0, |m| m.len()) as f64;
    println!(
        "event {:.0} bytes, store {:.0} bytes an event, log {:.0}",
        per(raw),
        per(size(&path)),
        per(size(&dir.path().join("log.db")))
    );
    tables(&path, events);
    if let Some(url) = std::env::args().find(|word| word.starts_with("postgres")) {
        (0..ROUNDS).for_each(|_| server(&log, &url));
    }
    log.close();
}

/// The two large tables, which COPY fills too, and all that persist writes.
const LARGE: [&str; 2] = ["scored_events", "event_entities"];
const ALL: &str = "scored_events, event_entities, event_hours, source_hours, alerts, incidents, alert_history, labels, rejects, series_rollup, reader_positions";

/// One round: persist into an empty store, then COPY of the rows that it left, as one stream for each table.
fn server(log: &Arc<SqliteLog>, url: &str) {
    let settings = Settings { url: Url(url.into()), connections: 4 };
    let store = Arc::new(Store::at(&Target::Server(settings)).expect("a server"));
    let mut client = postgres::Client::connect(url, postgres::NoTls).expect("a connection");
    client.batch_execute(&format!("SET synchronous_commit = off; TRUNCATE {ALL}")).expect("empty tables");
    let options = persist::Options::default();
    let mut worker = Worker::open(log.clone(), store, &options, &Metrics::default()).expect("a worker");
    let (began, cpu) = (Instant::now(), cpu_s());
    while worker.step().expect("a step") > 0 {}
    let (persist, cpu) = (began.elapsed().as_secs_f64(), cpu_s() - cpu);
    let dumps = LARGE.map(|table| {
        let mut bytes = Vec::new();
        let mut from =
            client.copy_out(&format!("COPY (SELECT * FROM {table}) TO STDOUT (FORMAT binary)")).expect("COPY");
        from.read_to_end(&mut bytes).expect("rows");
        bytes
    });
    client.batch_execute(&format!("TRUNCATE {ALL}")).expect("empty tables");
    let (began, mut rows) = (Instant::now(), 0);
    for (table, bytes) in LARGE.iter().zip(&dumps) {
        let mut to = client.copy_in(&format!("COPY {table} FROM STDIN (FORMAT binary)")).expect("COPY");
        to.write_all(bytes).expect("rows");
        rows += to.finish().expect("rows");
    }
    let copy = began.elapsed().as_secs_f64();
    let rate = |seconds: f64| rows as f64 / seconds;
    println!(
        "PostgreSQL, {rows} rows of events and entities: persist {:.0} rows/s ({cpu:.1} s of its own CPU), bare COPY {:.0} rows/s, ratio {:.2}",
        rate(persist),
        rate(copy),
        copy / persist
    );
}

/// Bytes by table and index, where SQLite can tell.
fn tables(path: &std::path::Path, events: usize) {
    let db = rusqlite::Connection::open(path).expect("a store");
    for (table, column) in [("scored_events", "json"), ("scored_events", "raw"), ("alert_history", "json")] {
        let sum = format!("SELECT sum(length({column})), count(*) FROM {table}");
        let (bytes, rows): (i64, i64) =
            db.query_row(&sum, [], |r| Ok((r.get(0).unwrap_or(0), r.get(1)?))).expect("a sum");
        println!("{table}.{column}: {:.0} bytes an event, {rows} rows", bytes as f64 / events as f64);
    }
    let Ok(mut query) = db.prepare("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 16")
    else {
        return;
    };
    let rows = query.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?)));
    for (name, bytes) in rows.into_iter().flatten().flatten() {
        println!("{name:<40} {:>6.0} bytes an event", bytes as f64 / events as f64);
    }
}

/// A log with events and what was made of them; the events' bytes.
fn log(dir: &std::path::Path, events: usize) -> (Arc<SqliteLog>, f64) {
    let log = SqliteLog::open(&dir.join("log.db"), 1, pulse::log::Options::default()).expect("a log");
    let objects = Objects::folder(&dir.join("objects")).expect("objects");
    let options = Options { workers: 1, checkpoint_every_ms: 0, ungated: false };
    let fatal = |why: &pulse_dataflows::detect::Fatal| panic!("{why}");
    let engine =
        Engine::start(log.clone(), objects.clone(), Registry::new(objects), options, fatal).expect("an engine");
    let mut shop = Shop::new(ShopConfig { seed: 7, ..ShopConfig::of_size(40.0) }).expect("a shop");
    let mut bytes = 0.0;
    for from in (0..events).step_by(CHUNK) {
        let mut records = Records::default();
        for _ in from..events.min(from + CHUNK) {
            let mut json = String::new();
            let time_ms = shop.next_event(&mut json).arrival_ms;
            bytes += json.len() as f64;
            records.push(Meta { time_ms, ..Meta::default() }, json.as_bytes());
        }
        let parts = vec![(partition(Topic::Raw, 0), records)];
        log.append_wait(Request { parts, ..Request::default() }).expect("appended");
    }
    while !engine.drain(Duration::from_secs(1)) {}
    engine.stop().expect("an orderly end");
    (log, bytes)
}

/// Seconds of processor time of this process.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat[stat.rfind(')').expect("a name") + 2..].split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
