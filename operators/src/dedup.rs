//! Removal of duplicates: the same (source, id) within 24 hours of append time is taken up once, the first in the order of
//! the log. The dataflow is the judge; what the gateway says at once is a courtesy.
//!
//! Deliberately absent: comparing contents. The id decides.

use crate::batch::Batch;
use crate::flow::Snapshot;
use crate::gather::{Homed, Waiting};
use crate::keyed::{Keyed, Stateful};
use crate::state::groups::{KeyGroups, Section};
use crate::state::seen::{HORIZON_MS, IDS_PER_GROUP, Seen};
use serde::{Deserialize, Serialize};

/// Asks whether an event's id was seen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Probe {
    key: u64,
    rest: u64,
    order: u64,
    received_ms: i64,
    slot: u32,
    home: u16,
}
impl Keyed for Probe {
    fn key(&self) -> u64 {
        self.key
    }
    fn order(&self) -> u64 {
        self.order
    }
}

/// The answer to a [`Probe`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Verdict {
    slot: u32,
    home: u16,
    duplicate: bool,
}
impl Homed for Verdict {
    fn home(&self) -> u64 {
        u64::from(self.home)
    }
}

/// One probe for each event of a batch.
pub fn probes(batch: &mut Batch, out: &mut Vec<Probe>) {
    batch.duplicate = vec![false; batch.events.len()];
    batch.missing = batch.events.len();
    out.extend(batch.events.iter().enumerate().map(|(slot, e)| Probe {
        key: e.identity as u64,
        rest: (e.identity >> 64) as u64,
        order: e.order(),
        received_ms: e.received_ms,
        slot: slot as u32,
        home: batch.home,
    }));
}

impl Waiting<Verdict> for Box<Batch> {
    fn epoch(&self) -> u64 {
        self.epoch
    }
    fn missing(&self) -> usize {
        self.missing
    }
    fn take(&mut self, verdict: Verdict) {
        if let Some(duplicate) = self.duplicate.get_mut(verdict.slot as usize) {
            *duplicate = verdict.duplicate;
        }
        self.missing -= 1;
    }
}

/// The ids seen, by key-group.
pub struct Ids {
    groups: KeyGroups<Seen>,
    checkpoints: u64,
    keep: Box<dyn FnMut(Vec<Section<Seen>>, bool)>,
    sizes: Option<Box<dyn FnMut(i64, u64)>>,
    /// What `sizes` was told: kept, evicted.
    told: (usize, u64),
}
impl Ids {
    /// `restored`: sections of the checkpoint for this worker's groups; `checkpoints`: how many were made before; `keep` gets
    /// copies of sections, and true with the last of a checkpoint.
    pub fn new(
        restored: impl Iterator<Item = (usize, Vec<(u64, u64, Seen)>)>,
        checkpoints: u64,
        keep: Box<dyn FnMut(Vec<Section<Seen>>, bool)>,
    ) -> Ids {
        let mut groups = KeyGroups::new(IDS_PER_GROUP);
        restored.for_each(|(group, rows)| groups.load(group, rows));
        Ids { groups, checkpoints, keep, sizes: None, told: (0, 0) }
    }
    /// From the next epoch on `sizes` is told how many more are kept (or fewer) and how many were evicted.
    pub fn telling(mut self, sizes: Box<dyn FnMut(i64, u64)>) -> Ids {
        self.sizes = Some(sizes);
        self
    }
}
/// Groups copied each time the operator runs: a slice short enough for the latency of the events behind it.
const COPIES: usize = 16;
impl Snapshot for Ids {
    fn begin(&mut self) {
        self.groups.begin(self.checkpoints);
        self.checkpoints += 1;
    }
    fn copy_some(&mut self) -> bool {
        let all = self.groups.copy(COPIES);
        (self.keep)(self.groups.take_copied(), all);
        all
    }
}
impl Stateful<Probe, Verdict> for Ids {
    fn look(&self, probe: &Probe) -> u32 {
        self.groups.look(probe.key, |seen| seen.rest as u32).wrapping_add(self.groups.look_at_first(probe.key))
    }
    fn apply(&mut self, probe: &Probe) -> Verdict {
        let since_ms = probe.received_ms - HORIZON_MS;
        self.groups.expire(probe.key, since_ms, |seen| seen.received_ms);
        let mut first = false;
        let now = Seen { rest: probe.rest, received_ms: probe.received_ms };
        let seen = self.groups.touch(probe.key, probe.received_ms, || {
            first = true;
            now
        });
        let duplicate = !first && seen.rest == probe.rest && seen.received_ms >= since_ms;
        if !duplicate {
            *seen = now;
        }
        Verdict { slot: probe.slot, home: probe.home, duplicate }
    }
    fn closed(&mut self) {
        let now = (self.groups.len(), self.groups.evicted());
        if let Some(sizes) = self.sizes.as_mut().filter(|_| now != self.told) {
            sizes(now.0 as i64 - self.told.0 as i64, now.1 - self.told.1);
            self.told = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(key: u64, rest: u64, received_ms: i64) -> Probe {
        Probe { key, rest, order: 0, received_ms, slot: 0, home: 0 }
    }

    #[test]
    fn an_id_counts_once_within_the_horizon() {
        let mut ids = Ids::new(std::iter::empty(), 0, Box::new(|_, _| {}));
        assert!(!ids.apply(&probe(5, 1, 0)).duplicate);
        assert!(ids.apply(&probe(5, 1, HORIZON_MS)).duplicate, "the horizon counts from the first");
        assert!(!ids.apply(&probe(5, 2, HORIZON_MS)).duplicate, "another id with the same half of the hash");
        assert!(!ids.apply(&probe(9, 1, 0)).duplicate);
        assert!(!ids.apply(&probe(9, 1, HORIZON_MS + 1)).duplicate, "beyond the horizon it is a new event");
    }
}
