//! What is in the topics is the replay of their log with one worker; and events to make such a log.

use super::*;
use pulse::backtest::Backtest;
use pulse::engine::objects::Objects;
use pulse::log::KafkaLog;
use pulse::simulate::{Shop, ShopConfig};
use pulse_dataflows::ports::{EventLog, FROM_GATEWAY, Meta, Topic, partition};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

pub fn seed() -> u64 {
    let seed = std::env::var("PULSE_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| pulse::engine::now_ms() as u64);
    println!("PULSE_SEED={seed}");
    seed
}

/// Events that happen now, one behind the other.
pub struct Events(Shop, u64);
impl Events {
    pub fn new(seed: u64) -> Events {
        let start_ms = pulse::engine::now_ms() - 6 * 3_600_000;
        let config = ShopConfig { seed, start_ms, ..ShopConfig::of_size(60.0) };
        Events(Shop::new(config).unwrap(), 0)
    }
    pub fn next(&mut self, n: usize) -> Vec<String> {
        let one = |_| {
            let mut json = String::new();
            self.0.next_event(&mut json);
            self.1 += 1;
            json
        };
        (0..n).map(one).collect()
    }
}

/// Values of an output partition without repeats: what a zombie wrote once more has a cause that came before.
pub fn outputs(log: &dyn EventLog, topic: Topic, number: u16) -> Vec<Vec<u8>> {
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for (Meta { cause, .. }, value) in records(log, partition(topic, number)) {
        if cause.kind != FROM_GATEWAY && seen.insert((cause.partition, cause.offset, cause.kind)) {
            all.push(value);
        }
    }
    all
}

/// No output stands twice in the topics: what an unbroken process writes, whatever the brokers do.
#[allow(dead_code, reason = "the cluster's tests break processes, whose outputs may repeat")]
pub fn no_repeats(log: &dyn EventLog) {
    for topic in [Topic::Scored, Topic::Rejected, Topic::Alerts] {
        for number in 0..log.partitions(topic) {
            let mut seen = BTreeSet::new();
            for (Meta { cause, .. }, value) in records(log, partition(topic, number)) {
                let new = cause.kind == FROM_GATEWAY || seen.insert((cause.partition, cause.offset, cause.kind));
                assert!(new, "{topic:?}/{number} twice: {cause:?} {}", String::from_utf8_lossy(&value));
            }
        }
    }
}

/// The outputs are those of an unbroken replay of the log with one worker; how many scored events.
pub fn verify_log(log: Arc<KafkaLog>, data: &Path, scratch: &Path) -> usize {
    replayed(log, Objects::folder(&data.join("objects")).unwrap(), scratch)
}

/// The same with models from anywhere.
pub fn replayed(log: Arc<KafkaLog>, objects: Objects, scratch: &Path) -> usize {
    let out = |name: &str| Some(scratch.join(name));
    let replay = Backtest {
        inputs: vec![],
        log: None,
        config: Default::default(),
        model: None,
        catalogue: None,
        retrain: None,
        privacy: Default::default(),
        workers: 1,
        output: out("scored"),
        alerts: out("alerts"),
        rejected: out("rejected"),
        enriched: out("enriched"),
    };
    replay.evaluate_over(Some(log.clone()), objects, None, &mut |_| {}).unwrap();
    let mut scored = 0;
    let files = [
        ("scored", Topic::Scored),
        ("alerts", Topic::Alerts),
        ("rejected", Topic::Rejected),
        ("enriched", Topic::Enriched),
    ];
    for (name, topic) in files {
        for number in 0..log.partitions(topic) {
            let file = if number == 0 { name.to_owned() } else { format!("{name}.{number}") };
            let text = std::fs::read(scratch.join(file)).unwrap();
            let want: Vec<&[u8]> = text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
            let have = outputs(&*log, topic, number);
            let differs =
                (0..want.len().max(have.len())).find(|i| want.get(*i).copied() != have.get(*i).map(|v| &v[..]));
            let show = |line: Option<&[u8]>| line.map_or("nothing".into(), |l| String::from_utf8_lossy(l).into_owned());
            assert!(
                differs.is_none(),
                "{name}/{number}: {} in the topic, {} in the replay; record {differs:?}\n topic  {}\n replay {}",
                have.len(),
                want.len(),
                show(differs.and_then(|i| have.get(i)).map(|v| &v[..])),
                show(differs.and_then(|i| want.get(i).copied())),
            );
            if topic == Topic::Scored {
                scored += have.len();
            }
        }
    }
    scored
}
