//! Memory and descriptors of the parts over time: they may not grow without end.
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
    /// What was seen, a line for each part: quartiles in time of the largest; and who grew.
    pub fn judge(&self) -> (Vec<String>, Vec<String>) {
        let (mut lines, mut grown) = (Vec::new(), Vec::new());
        let length = self.begun.elapsed().as_secs_f64();
        for (name, looks) in &*self.looks.lock().unwrap() {
            let quarter = |i: usize, of: fn(&Look) -> u64| {
                let (from, to) = (length * i as f64 / 4.0, length * (i + 1) as f64 / 4.0);
                looks.iter().filter(|look| (from..to).contains(&look.0)).map(of).max().unwrap_or(0)
            };
            let (kib, fds) = ([0, 1, 2, 3].map(|i| quarter(i, |l| l.1)), [0, 1, 2, 3].map(|i| quarter(i, |l| l.2)));
            let mib = kib.map(|kib| kib / 1024);
            lines.push(format!("{name:<12} {mib:?} MiB, {fds:?} descriptors at most in each quarter"));
            let middle = (kib[1].max(kib[2]), fds[1].max(fds[2]));
            if length > FILLED_S
                && middle.0 > 0
                && (kib[3] > middle.0 * 3 / 2 + MARGIN || fds[3] > middle.1 + MARGIN_FDS)
            {
                grown.push(lines.last().unwrap().clone());
            }
        }
        (lines, grown)
    }
}
