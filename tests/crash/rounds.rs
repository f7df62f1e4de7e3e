//! Rounds of kills, and the judge.

use crate::child::{DIR, MODE, SEED, WORKERS};
use pulse::audit::audit;
use pulse::backtest::Backtest;
use pulse::log::SqliteLog;
use pulse::persist::Worker;
use pulse::store::Store;
use pulse::telemetry::Metrics;
use pulse_dataflows::ports::{EventLog, FROM_GATEWAY, Topic, partition};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Rounds in the test run.
const ROUNDS: u64 = 30;
/// Kills of a round at most; then it may finish.
const KILLS: u64 = 12;

pub struct Random(pub u64);
impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

pub fn seed() -> u64 {
    let seed = std::env::var("PULSE_SEED").ok().and_then(|s| s.parse().ok());
    seed.unwrap_or_else(|| pulse::engine::now_ms() as u64)
}

/// The process that is killed.
pub fn command(dir: &Path, workers: u64, seed: u64, mode: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::runs_to_its_end", "--nocapture", "--test-threads=1"]);
    command.env(DIR, dir).env(WORKERS, workers.to_string()).env(SEED, seed.to_string()).env(MODE, mode);
    command.stdout(Stdio::null()).stderr(Stdio::inherit());
    command
}

fn topic(log: &dyn EventLog, topic: Topic) -> Vec<Vec<u8>> {
    let (mut all, place) = (Vec::new(), partition(topic, 0));
    let mut take = |_, meta: pulse_dataflows::ports::Meta, value: &[u8]| {
        if meta.cause.kind != FROM_GATEWAY {
            all.push(value.to_vec());
        }
    };
    log.reader().each(place, 0, log.end(place), &mut take).unwrap();
    all
}

/// The outputs in the log are those of an unbroken replay with one worker, and whatever left is among them.
pub fn verify(dir: &Path) -> Result<u64, String> {
    let log = SqliteLog::open_reader(&dir.join("log.db")).unwrap();
    let out = |name: &str| dir.join(format!("replay.{name}"));
    let replay = Backtest {
        inputs: vec![],
        log: Some(dir.into()),
        config: Default::default(),
        model: None,
        catalogue: None,
        retrain: None,
        privacy: Default::default(),
        workers: 1,
        output: Some(out("scored")),
        alerts: Some(out("alerts")),
        rejected: Some(out("rejected")),
        enriched: Some(out("enriched")),
    };
    replay.run(&dir.join("objects"), &mut |_| {}).map_err(|e| e.to_string())?;
    let mut scored = 0;
    let outputs = [
        ("scored", Topic::Scored),
        ("alerts", Topic::Alerts),
        ("rejected", Topic::Rejected),
        ("enriched", Topic::Enriched),
    ];
    for (name, of) in outputs {
        let text = std::fs::read(out(name)).unwrap();
        let want: Vec<&[u8]> = text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
        let have = topic(&*log, of);
        if let Some(i) = (0..want.len().max(have.len())).find(|i| want.get(*i).copied() != have.get(*i).map(|v| &v[..]))
        {
            let show = |line: Option<&[u8]>| line.map_or("nothing".into(), |l| String::from_utf8_lossy(l).into_owned());
            let (want_line, have_line) = (show(want.get(i).copied()), show(have.get(i).map(|v| &v[..])));
            return Err(format!(
                "{name}: {} in the log, {} in the replay; record {i}\n log    {have_line}\n replay {want_line}",
                have.len(),
                want.len()
            ));
        }
        if of == Topic::Scored {
            scored = have.len() as u64;
            left_is_among(dir, &want)?;
        }
    }
    audited(dir)?;
    Ok(scored)
}

/// `pulse audit` agrees, on a store that is made from the log.
fn audited(dir: &Path) -> Result<(), String> {
    let log = SqliteLog::open_reader(&dir.join("log.db")).unwrap();
    let store = Arc::new(Store::open(&dir.join("audit.db")).unwrap());
    let options = pulse::persist::Options::default();
    let mut persist = Worker::open(log.clone(), store.clone(), &options, &Metrics::default()).unwrap();
    while persist.step().unwrap() > 0 {}
    let report = audit(&*log, &store).unwrap();
    let through = report.agrees && report.in_flight == 0 && report.persist_lag == 0;
    if through { Ok(()) } else { Err(format!("{report:#?}")) }
}

fn left_is_among(dir: &Path, want: &[&[u8]]) -> Result<(), String> {
    for file in std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()) {
        if file.extension().is_none_or(|e| e != "left") {
            continue;
        }
        let text = String::from_utf8(std::fs::read(&file).unwrap()).unwrap_or_default();
        // a kill may tear the last line
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let (offset, value) = line.split_once(' ').unwrap();
            if want.get(offset.parse::<usize>().unwrap()).copied() != Some(value.as_bytes()) {
                return Err(format!("left before a crash, and in no replay: {line}"));
            }
        }
    }
    Ok(())
}

/// Kills and restarts until the round is through; kills by number of workers.
fn round(dir: &Path, random: &mut Random, seed: u64, mode: &str) -> BTreeMap<u64, u64> {
    let mut kills = BTreeMap::new();
    for turn in 0.. {
        let workers = [1, 2, 4, 3][turn % 4];
        let mut child = command(dir, workers, seed, mode).spawn().unwrap();
        if turn as u64 >= KILLS {
            assert!(child.wait().unwrap().success(), "seed {seed}: failed by itself");
            return kills;
        }
        // late outputs need longer runs, or nothing ever leaves
        let least = if mode.is_empty() { 40 } else { 500 };
        std::thread::sleep(Duration::from_millis(least + random.below(260)));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "seed {seed}: failed by itself");
            return kills;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        *kills.entry(workers).or_default() += 1;
    }
    kills
}

#[test]
fn killed_at_random_the_log_is_that_of_an_unbroken_run() {
    let seed = seed();
    println!("PULSE_SEED={seed}");
    let (mut random, mut kills, mut scored) = (Random(seed), BTreeMap::<u64, u64>::new(), 0);
    for i in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let of_round = seed.wrapping_add(i);
        for (workers, n) in round(dir.path(), &mut random, of_round, "") {
            *kills.entry(workers).or_default() += n;
        }
        match verify(dir.path()) {
            Ok(n) => scored += n,
            Err(problem) => panic!("PULSE_SEED={seed} round {i}: {problem}"),
        }
    }
    println!("{ROUNDS} rounds, kills by workers {kills:?}, {scored} scored events, all as in the unbroken run");
    assert!(kills.values().sum::<u64>() >= ROUNDS, "too few kills to mean anything: {kills:?}");
}

/// Outputs come 300 ms late. A checkpoint that waits for them loses none; one that does not is caught by the same judge.
#[test]
fn a_checkpoint_that_overtakes_its_outputs_loses_them() {
    let seed = seed();
    println!("PULSE_SEED={seed}");
    let mut random = Random(seed);
    let mut judged = |mode: &str, i: u64| {
        let dir = tempfile::tempdir().unwrap();
        round(dir.path(), &mut random, seed.wrapping_add(i), mode);
        verify(dir.path())
    };
    if let Err(problem) = judged("late", 0) {
        panic!("PULSE_SEED={seed}: {problem}");
    }
    let caught = (1..=5).find_map(|i| judged("ungated", i).err());
    assert!(caught.is_some(), "PULSE_SEED={seed}: five rounds without the gate, and nothing was lost");
}
