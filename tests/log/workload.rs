//! What a child appends until it is killed, and what must be found afterwards.
//!
//! Each request has a number (run, thread, step); each of its records says so, and how many there are, so that a request
//! that is there in part is noticed. What was acknowledged is written to a file that the disturbed disk leaves alone.

use super::{LABELS, RAW0, RAW1, SCORED0, at, partitions};
use pulse_dataflows::ports::{EventLog, Partition, Records, Request, Topic, partition};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// SplitMix64.
pub struct Random(pub u64);
impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}
/// The seed of this test run: from `PULSE_SEED` or the clock. Printed, so that a failure can be repeated.
pub fn seed(test: &str) -> Random {
    let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("PULSE_SEED").map_or_else(|_| clock(), |seed| seed.parse().unwrap());
    println!("{test}: PULSE_SEED={seed}");
    Random(seed)
}

/// Number of a request: run, thread, step, and whether it is an output.
type Number = (u64, u64, u64, bool);
const HEAD: usize = 6 * 8;

/// Record `i` of `n` of the request.
fn record((run, thread, step, output): Number, i: u64, n: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = [run, thread, step, output.into(), i, n].iter().flat_map(|w| w.to_le_bytes()).collect();
    let mut filler = Random(run ^ thread << 40 ^ step << 8 ^ i);
    bytes.extend((0..filler.below(300)).map(|_| filler.next() as u8));
    bytes
}
fn number(record: &[u8]) -> (Number, u64, u64) {
    let word = |i: usize| u64::from_le_bytes(record[8 * i..8 * i + 8].try_into().unwrap());
    ((word(0), word(1), word(2), word(3) == 1), word(4), word(5))
}
fn request(number: Number, random: &mut Random) -> Request {
    let places = if number.3 {
        [SCORED0, partition(Topic::Alerts, 0)]
    } else {
        [[RAW0, RAW1], [RAW1, LABELS]][random.below(2) as usize]
    };
    let (n, split) = (2 + random.below(20), 1 + random.below(2));
    let mut parts = places.map(|p| (p, Records::default()));
    (0..n).for_each(|i| parts[usize::from(i >= split)].1.push(at(number.2 as i64), &record(number, i, n)));
    Request { parts: parts.into(), outputs: number.3.then_some((number.1 as usize, number.2)), ..Request::default() }
}

/// Appends on three threads, with a pause between steps, until `end`, which may never come.
pub fn produce(log: &dyn EventLog, dir: &Path, run: u64, pause: Duration, end: Option<Instant>) {
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || {
                let mut random = Random(run.wrapping_add(thread));
                let mut acked = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(dir.join(format!("acked-{run}-{thread}")))
                    .unwrap();
                for step in 0.. {
                    for output in [true, false] {
                        log.append_wait(request((run, thread, step, output), &mut random)).unwrap();
                        acked.write_all(&[u8::from(output)]).unwrap(); // steps are dense: one byte says it all
                    }
                    std::thread::sleep(pause);
                    if end.is_some_and(|end| Instant::now() > end) {
                        return;
                    }
                }
            });
        }
    });
}

/// What is wrong with a log after crashes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Acknowledged inputs that are not there.
    pub inputs_lost: usize,
    /// Acknowledged outputs that are not there though a later input was acknowledged.
    pub covered_outputs_lost: usize,
    /// Acknowledged outputs that are not there, all of them: only a loss of power may do that.
    pub outputs_lost: usize,
    /// Requests that are there in part, twice, altered, or out of order.
    pub broken: usize,
}

/// Compares the log with what was acknowledged in `dir`; also how many requests there are.
pub fn inspect(log: &dyn EventLog, dir: &Path) -> (Findings, usize) {
    let mut found: BTreeMap<Number, Vec<u64>> = BTreeMap::new();
    let mut findings = Findings::default();
    for p in partitions(log).into_iter().filter(|p| p.topic != Topic::Epochs) {
        let mut last: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for value in super::read(log, p) {
            if value.len() < HEAD {
                findings.broken += 1;
                continue;
            }
            let (id, i, n) = number(&value);
            let before = last.insert((id.0, id.1), id.2).unwrap_or(0);
            findings.broken += usize::from(before > id.2 || value != record(id, i, n));
            found.entry(id).or_insert_with(|| vec![n]).push(i);
        }
    }
    for records in found.values_mut() {
        let n = records.remove(0);
        records.sort_unstable();
        findings.broken += usize::from(!records.iter().copied().eq(0..n));
    }
    for file in fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let Some((run, thread)) = name.strip_prefix("acked-").and_then(|ids| ids.split_once('-')) else { continue };
        let (run, thread) = (run.parse().unwrap(), thread.parse().unwrap());
        let acked = fs::read(&file).unwrap();
        let last_input = acked.iter().rposition(|output| *output == 0);
        for (i, output) in acked.iter().map(|output| *output == 1).enumerate() {
            let lost = !found.contains_key(&(run, thread, i as u64 / 2, output));
            findings.inputs_lost += usize::from(lost && !output);
            findings.outputs_lost += usize::from(lost && output);
            findings.covered_outputs_lost += usize::from(lost && output && last_input.is_some_and(|last| i < last));
        }
    }
    (findings, found.len())
}

/// The first records of a partition, to show that it is the same.
pub fn ends(log: &dyn EventLog) -> Vec<(Partition, u64)> {
    partitions(log).into_iter().map(|p| (p, log.end(p))).collect()
}
