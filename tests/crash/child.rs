//! The process that is killed: engine and producer on one data folder. It is this test binary, told its role by the
//! environment; a run without a role is a test of its own.

use crate::late::LateLog;
use pulse::engine::objects::Objects;
use pulse::engine::registry::Registry;
use pulse::engine::{Engine, Options, now_ms};
use pulse::log::SqliteLog;
use pulse::simulate::{Shop, ShopConfig};
use pulse_dataflows::control::Control;
use pulse_dataflows::detect::Fatal;
use pulse_dataflows::ports::{EventLog, Meta, Records, Request, Topic, partition};
use pulse_operators::context::DetectConfig;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const DIR: &str = "PULSE_CRASH_DIR";
pub const WORKERS: &str = "PULSE_CRASH_WORKERS";
pub const SEED: &str = "PULSE_CRASH_SEED";
/// `late`: outputs reach the log 300 ms late. `ungated`: that, and checkpoints do not wait for them. `golden`: few events, a
/// checkpoint, and some that nobody has scored (see `tests/data/README.md`).
pub const MODE: &str = "PULSE_CRASH_MODE";
/// Events of a round; every fiftieth is sent twice.
pub const EVENTS: u64 = 3000;

/// Events of `golden` in front of its checkpoint, and behind it.
const GOLDEN: (usize, usize) = (400, 50);

/// The events of a seed: those that are in the log already are made again and left out.
fn lines(seed: u64) -> Vec<(i64, String)> {
    let config = ShopConfig { seed, ..ShopConfig::of_size(30.0) };
    let mut shop = Shop::new(config).unwrap();
    let mut all = Vec::new();
    for i in 0..EVENTS {
        let mut json = String::new();
        let event = shop.next_event(&mut json);
        if i % 50 == 7 {
            all.push((event.arrival_ms, json.clone()));
        }
        if i % 211 == 3 {
            all.push((event.arrival_ms, "{\"broken\":".into()));
        }
        all.push((event.arrival_ms, json));
    }
    all
}

fn append(log: &dyn EventLog, topic: Topic, records: Records) {
    let parts = vec![(partition(topic, 0), records)];
    log.append_wait(Request { parts, ..Request::default() }).unwrap();
}

/// Writes down what a reader saw leaving: it must be in every later replay.
fn watch(log: Arc<SqliteLog>, dir: &Path) {
    let mut file = std::fs::File::create(dir.join(format!("{}.left", std::process::id()))).unwrap();
    std::thread::spawn(move || {
        let (mut reader, scored) = (log.reader(), partition(Topic::Scored, 0));
        let mut at = log.end(scored).saturating_sub(1);
        loop {
            let mut out = Vec::new();
            at = reader
                .each(scored, at, u64::MAX, &mut |offset, _, value| {
                    out.extend(format!("{offset} {}\n", String::from_utf8_lossy(value)).bytes());
                })
                .unwrap();
            file.write_all(&out).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// Runs until all events are through.
pub fn work(dir: &Path, workers: usize, seed: u64, mode: &str) {
    let log = SqliteLog::open(&dir.join("log.db"), 1, pulse::log::Options::default()).unwrap();
    let objects = Objects::folder(&dir.join("objects")).unwrap();
    let registry = Registry::new(objects.clone());
    let options = Options { workers, checkpoint_every_ms: 60, ungated: mode == "ungated" };
    let fatal = |why: &Fatal| panic!("{why}");
    let late = ["late", "ungated"].contains(&mode);
    let outputs: Arc<dyn EventLog> = if late { LateLog::over(log.clone()) } else { log.clone() };
    let engine = Engine::start(outputs, objects, registry, options, fatal).unwrap();
    watch(log.clone(), dir);
    let (mut lines, raw) = (lines(seed), partition(Topic::Raw, 0));
    let behind = if mode == "golden" { lines.drain(GOLDEN.0..).take(GOLDEN.1).collect() } else { Vec::new() };
    let mut at = log.end(raw) as usize;
    let mut random = seed ^ u64::from(std::process::id());
    while at < lines.len() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let to = (at + 1 + (random >> 33) as usize % 40).min(lines.len());
        let mut records = Records::default();
        for (time_ms, json) in &lines[at..to] {
            records.push(Meta { time_ms: *time_ms, ..Meta::default() }, json.as_bytes());
        }
        append(&*log, Topic::Raw, records);
        if random.is_multiple_of(7) {
            let mut config = DetectConfig::default();
            config.decode.enriched = random & 1 == 0;
            config.budget.alerts_per_day = 1 + (random >> 40) as u32 % 50;
            let meta = Meta { time_ms: now_ms(), ..Meta::default() };
            append(&*log, Topic::Control, Records::of(meta, &Control::Config { config: Box::new(config) }.to_bytes()));
        }
        at = to;
        std::thread::sleep(Duration::from_micros((random >> 20) % 9000));
    }
    let until = Instant::now() + Duration::from_secs(60);
    while !engine.drain(Duration::from_millis(50)) {
        assert!(Instant::now() < until, "the outputs never came");
    }
    assert!(mode != "golden" || engine.checkpoint(Duration::from_secs(10)));
    engine.stop().unwrap();
    for (time_ms, json) in &behind {
        append(&*log, Topic::Raw, Records::of(Meta { time_ms: *time_ms, ..Meta::default() }, json.as_bytes()));
    }
    log.close();
    std::fs::write(dir.join("finished"), b"").unwrap();
}

#[test]
fn runs_to_its_end() {
    let of = |name: &str| std::env::var(name).ok();
    match of(DIR) {
        Some(dir) => {
            let workers = of(WORKERS).unwrap().parse().unwrap();
            work(Path::new(&dir), workers, of(SEED).unwrap().parse().unwrap(), &of(MODE).unwrap());
        }
        None => {
            let dir = tempfile::tempdir().unwrap();
            work(dir.path(), 2, 1, "");
            crate::rounds::verify(dir.path()).unwrap();
        }
    }
}
