//! A model is promoted while events flow.

use crate::backtest::events;
use pulse::app::learn::Gathered;
use pulse::backtest::{Backtest, Scratch};
use pulse::engine::objects::Objects;
use pulse::engine::registry::{Registry, SHIPPED_VERSION};
use pulse::engine::{Engine, Options, now_ms};
use pulse::log::SqliteLog;
use pulse_dataflows::control::Control;
use pulse_dataflows::epochs::{Entry, EpochReader};
use pulse_dataflows::ports::{EventLog, Meta, Partition, Records, Request, Topic, partition};
use pulse_models::bundle::Bundle;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PARTITIONS: u16 = 2;

fn backtest(inputs: &[&Path], log: Option<&Path>, objects: &Path, output: &Path, workers: usize) {
    let backtest = Backtest {
        inputs: inputs.iter().map(|path| path.to_path_buf()).collect(),
        log: log.map(Path::to_path_buf),
        config: Default::default(),
        model: None,
        catalogue: None,
        retrain: None,
        privacy: Default::default(),
        workers,
        output: Some(output.into()),
        alerts: None,
        rejected: None,
        enriched: None,
    };
    backtest.run(objects, &mut |_| {}).unwrap();
}

/// A bundle fitted to what a small backtest scored.
pub fn fitted(dir: &Path, version: &str, seed: u64) -> Bundle {
    let (input, output, scratch) = (dir.join("small.ndjson"), dir.join("small.scored"), Scratch::new());
    events(&input, 11, 5000);
    backtest(&[&input], None, scratch.path(), &output, 1);
    let mut gathered = Gathered::default();
    std::fs::read(&output).unwrap().split(|b| *b == b'\n').for_each(|line| gathered.take(line));
    assert!(gathered.rows() > 4000);
    gathered.fit(version, seed, 20.0).unwrap()
}

fn append(log: &dyn EventLog, parts: Vec<(Partition, Records)>) {
    log.append_wait(Request { parts, ..Request::default() }).unwrap();
}

/// Sends all lines to a running engine, and promotes in the middle of them.
fn live(dir: &Path, lines: &[&[u8]], promote: &Control) {
    let log = SqliteLog::open(&dir.join("log.db"), PARTITIONS, pulse::log::Options::default()).unwrap();
    let objects = Objects::folder(&dir.join("objects")).unwrap();
    let registry = Registry::new(objects.clone());
    let options = Options { workers: 2, checkpoint_every_ms: 50, ungated: false };
    let engine = Engine::start(log.clone(), objects, registry, options, |why| panic!("{why}")).unwrap();
    for (i, chunk) in lines.chunks(23).enumerate() {
        let mut parts = vec![Records::default(); usize::from(PARTITIONS)];
        for (j, line) in chunk.iter().enumerate() {
            parts[(i + j) % 2].push(Meta { time_ms: now_ms(), ..Meta::default() }, line);
        }
        append(&*log, (0..).zip(parts).map(|(number, r)| (Partition { topic: Topic::Raw, number }, r)).collect());
        if i == lines.len() / 23 / 2 {
            let meta = Meta { time_ms: now_ms(), ..Meta::default() };
            append(&*log, vec![(partition(Topic::Control, 0), Records::of(meta, &promote.to_bytes()))]);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let until = Instant::now() + Duration::from_secs(60);
    while !engine.drain(Duration::from_millis(50)) {
        assert!(Instant::now() < until, "the outputs never came");
    }
    engine.stop().unwrap();
    log.close();
}

#[test]
fn models_switch_at_one_epoch_edge_and_no_event_is_lost_or_scored_twice() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = fitted(dir.path(), "global_model@v1", 1);
    let checksum = Registry::new(Objects::folder(&dir.path().join("objects")).unwrap()).add(&bundle).unwrap();
    let input = dir.path().join("events.ndjson");
    events(&input, 23, 4000);
    let text = std::fs::read(&input).unwrap();
    let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').filter(|line| line.ends_with(b"}")).collect();
    live(dir.path(), &lines, &Control::Model { version: bundle.version.clone(), checksum });

    let log = SqliteLog::open_reader(&dir.path().join("log.db")).unwrap();
    let (mut entries, mut before) = (EpochReader::new(&*log, 0, 0), Entry::default());
    let edge = loop {
        let entry = entries.next_entry().unwrap().expect("the epoch that takes the promotion up");
        if entry.ends.last() == Some(&1) {
            break before;
        }
        before = entry;
    };
    let (mut seen, mut by_model) = (BTreeSet::new(), [0, 0]);
    for number in 0..PARTITIONS {
        let (place, mut last, mut all) = (Partition { topic: Topic::Scored, number }, None, Vec::new());
        let mut take = |_, meta: Meta, value: &[u8]| {
            assert!(last < Some(meta.cause.offset), "out of order");
            last = Some(meta.cause.offset);
            let event: Value = serde_json::from_slice(value).unwrap();
            assert!(seen.insert(event["id"].as_str().unwrap().to_owned()), "scored twice: {event}");
            let old = meta.cause.offset < edge.ends[usize::from(number)];
            assert_eq!(event["model"], if old { SHIPPED_VERSION } else { "global_model@v1" });
            by_model[usize::from(!old)] += 1;
            all.extend_from_slice(value);
            all.push(b'\n');
        };
        log.reader().each(place, 0, log.end(place), &mut take).unwrap();
        for workers in [1, 3] {
            let output = dir.path().join(format!("again.{workers}"));
            if number == 0 {
                backtest(&[], Some(dir.path()), &dir.path().join("objects"), &output, workers);
            }
            let name = if number == 0 { output } else { dir.path().join(format!("again.{workers}.{number}")) };
            assert!(std::fs::read(name).unwrap() == all, "partition {number}, {workers} workers: other bytes");
        }
    }
    let sent: BTreeSet<String> = lines
        .iter()
        .map(|line| serde_json::from_slice::<Value>(line).unwrap())
        .filter(|event| event["type"] != "heartbeat")
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(seen == sent, "{} sent, {} scored", sent.len(), seen.len());
    assert!(by_model.iter().all(|n| *n > 500), "{by_model:?}");
}

/// Another catalogue while events flow: one epoch for all, and a replay takes the one that was in force then.
#[test]
fn a_catalogue_switches_at_one_epoch_edge_and_a_replay_uses_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("events.ndjson");
    events(&input, 29, 3000);
    let text = std::fs::read(&input).unwrap();
    let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').filter(|line| line.ends_with(b"}")).collect();
    let mut products = BTreeSet::new();
    for line in &lines {
        let event: Value = serde_json::from_slice(line).unwrap();
        for item in event["items"].as_array().into_iter().flatten() {
            products.extend(item["product_id"].as_str().map(str::to_owned));
        }
    }
    // everything costs a cent: no price fits
    let entries: Vec<Value> =
        products.iter().map(|id| serde_json::json!({"product_id": id, "category": "x", "price": 0.01})).collect();
    let objects = dir.path().join("objects");
    let registry = Registry::new(Objects::folder(&objects).unwrap());
    let hash = registry.add_catalogue(&Value::from(entries).to_string(), 2).unwrap();
    live(dir.path(), &lines, &Control::Table { name: "catalogue".into(), hash });

    let log = SqliteLog::open_reader(&dir.path().join("log.db")).unwrap();
    let (mut entries, mut before) = (EpochReader::new(&*log, 0, 0), Entry::default());
    let edge = loop {
        let entry = entries.next_entry().unwrap().expect("the epoch that takes the catalogue up");
        if entry.ends.last() == Some(&1) {
            break before;
        }
        before = entry;
    };
    let (mut found, needle) = ([0, 0], "price_vs_catalogue");
    let outputs: Vec<PathBuf> = [1, 3].map(|workers| dir.path().join(format!("again.{workers}"))).into();
    for (output, workers) in outputs.iter().zip([1, 3]) {
        backtest(&[], Some(dir.path()), &objects, output, workers);
    }
    for number in 0..PARTITIONS {
        let (place, mut all) = (Partition { topic: Topic::Scored, number }, Vec::new());
        let mut take = |_, meta: Meta, value: &[u8]| {
            let new = meta.cause.offset >= edge.ends[usize::from(number)];
            found[usize::from(new)] += usize::from(String::from_utf8_lossy(value).contains(needle));
            all.extend_from_slice(value);
            all.push(b'\n');
        };
        log.reader().each(place, 0, log.end(place), &mut take).unwrap();
        for output in &outputs {
            let name = match number {
                0 => output.clone(),
                _ => output.with_extension(format!("{}.{number}", output.extension().unwrap().display())),
            };
            assert!(std::fs::read(&name).unwrap() == all, "partition {number}: other bytes in {}", name.display());
        }
    }
    assert!(found[0] == 0 && found[1] > 50, "{found:?}");
}
