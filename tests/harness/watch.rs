//! Memory and descriptors of the parts, and what they take on disks, over time: they may not grow without end.
//!
//! Deliberately absent: what a good size is; the end is compared with the middle.

use super::parts::children;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A look at a process: seconds since the start, resident KiB, descriptors.
type Look = (f64, u64, u64);

/// Growth of resident memory between middle and end that a run may show, beside a half, KiB.
const MARGIN: u64 = 96 * 1024;
/// The same of descriptors.
const MARGIN_FDS: u64 = 64;

/// More than a part may ever take at the load of the harness, KiB.
const LARGEST: u64 = 1536 * 1024;

/// In the first minutes tails, caches and pools fill, and a part that was just started again is small: a shorter run says nothing, s.
const FILLED_S: f64 = 300.0;

#[derive(Clone)]
pub struct Watch {
    begun: Instant,
    looks: Arc<Mutex<BTreeMap<String, Vec<Look>>>>,
}

fn resident(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
}

impl Watch {
    pub const EVERY: Duration = Duration::from_millis(500);
    pub fn new() -> Watch {
        Watch { begun: Instant::now(), looks: Arc::default() }
    }
    /// Looks at a process, and at its children by their number.
    pub fn look(&self, name: &str, pid: u32) {
        if let (Some(kib), Ok(fds)) = (resident(pid), std::fs::read_dir(format!("/proc/{pid}/fd"))) {
            let look = (self.begun.elapsed().as_secs_f64(), kib, fds.count() as u64);
            self.looks.lock().unwrap().entry(name.to_owned()).or_default().push(look);
        }
        for (i, child) in children(pid).into_iter().enumerate() {
            self.look(&format!("{name}/{i}"), child);
        }
    }
    /// Notes what a place takes on a disk, KiB, and in how many files.
    pub fn note(&self, name: &str, kib: u64, files: u64) {
        let look = (self.begun.elapsed().as_secs_f64(), kib, files);
        self.looks.lock().unwrap().entry(name.to_owned()).or_default().push(look);
    }
    /// What was seen, a line for each part or place: quartiles in time of the largest; and who grew.
    pub fn judge(&self) -> (Vec<String>, Vec<String>) {
        let (mut lines, mut grown) = (Vec::new(), Vec::new());
        let length = self.begun.elapsed().as_secs_f64();
        for (name, looks) in &*self.looks.lock().unwrap() {
            let (kib, fds) = (quarters(looks, length, |l| l.1), quarters(looks, length, |l| l.2));
            let mib = kib.map(|kib| kib / 1024);
            let line = format!("{name:<12} {mib:?} MiB, {fds:?} descriptors or files at most in each quarter");
            grown.extend(grew(length, kib, fds).map(|what| format!("{what}: {line}")));
            lines.push(line);
        }
        (lines, grown)
    }
}

/// The largest in each quarter of the time.
fn quarters(looks: &[Look], length: f64, of: fn(&Look) -> u64) -> [u64; 4] {
    [0, 1, 2, 3].map(|i| {
        let (from, to) = (length * f64::from(i) / 4.0, length * f64::from(i + 1) / 4.0);
        looks.iter().filter(|look| (from..to).contains(&look.0)).map(of).max().unwrap_or(0)
    })
}

/// What has grown beyond what a run of this length may show.
fn grew(length: f64, kib: [u64; 4], fds: [u64; 4]) -> Option<&'static str> {
    let middle = (kib[1].max(kib[2]), fds[1].max(fds[2]));
    let more = kib[3] > middle.0 * 3 / 2 + MARGIN;
    if kib.into_iter().max() > Some(LARGEST) {
        Some("larger than any part may be")
    } else if middle.1 > 0 && fds[3] > middle.1 + MARGIN_FDS {
        Some("descriptors or files grow")
    } else {
        (length > FILLED_S && middle.0 > 0 && more).then_some("memory grows")
    }
}

#[test]
fn what_grows_is_seen_and_what_fills_or_starts_again_is_not() {
    let mib = |of: [u64; 4]| of.map(|n| n * 1024);
    let (long, short) = (2.0 * FILLED_S, 60.0);
    // caches that fill, and a part that was dead in the third quarter and is small again
    assert_eq!(grew(long, mib([80, 300, 0, 310]), [40, 44, 0, 45]), None);
    assert_eq!(grew(short, mib([80, 120, 240, 460]), [20, 44, 43, 45]), None, "a short run says nothing of memory");
    // a leak of 100 MiB a quarter in a soak; of a descriptor each second; of everything
    assert_eq!(grew(long, mib([100, 200, 300, 600]), [40; 4]), Some("memory grows"));
    assert_eq!(grew(short, mib([100; 4]), [40, 60, 80, 150]), Some("descriptors or files grow"));
    assert_eq!(grew(short, mib([100, 400, 900, 4000]), [40; 4]), Some("larger than any part may be"));
    let watch = Watch::new();
    watch.note("a place", 10, 3);
    let (lines, grown) = watch.judge();
    assert!(lines.len() == 1 && grown.is_empty(), "{lines:?} {grown:?}");
}
