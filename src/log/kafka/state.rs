//! What the threads of the log share: where the partitions stand, what is under way, and who waits.
//!
//! Deliberately absent: clients.

use super::client::Complaints;
use super::prints::Prints;
use super::traces::Traces;
use crate::log::layout::Layout;
use crate::log::tail::Tail;
use crate::log::{Fatal, Subscribers, locked};
use pulse_dataflows::ports::{Ack, Acker, LogError, Partition, TOPICS, Topic, partition};
use rdkafka::topic_partition_list::Offset;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// One partition.
pub(super) struct Place {
    pub partition: Partition,
    /// What is added to the brokers' offsets: see `fence`.
    pub base: u64,
    /// First offset that is still there.
    pub start: AtomicU64,
    /// Offset behind the last record that is known to be in.
    pub end: AtomicU64,
    /// Offset behind the last record that an entry names.
    pub taken: AtomicU64,
    /// The newest blocks.
    pub followed: Mutex<Followed>,
    /// More was followed.
    pub arrived: Condvar,
}
impl Place {
    /// The brokers' offset as ours.
    pub fn ours(&self, offset: i64) -> u64 {
        offset.max(0) as u64 + self.base
    }
    /// Our offset as the brokers'.
    pub fn theirs(&self, offset: u64) -> Offset {
        Offset::Offset(offset.saturating_sub(self.base) as i64)
    }
}
/// What the follower has read of a partition.
#[derive(Default)]
pub(super) struct Followed {
    pub tail: Tail,
    /// Offset behind the tail; `None`: not followed.
    pub next: Option<u64>,
}

/// A request under way.
struct Pending {
    /// First offset of each part.
    first: Vec<u64>,
    /// Parts not delivered.
    left: usize,
    bytes: usize,
    expect: Option<(usize, u64)>,
    outputs: Option<Acker>,
    ack: Option<Ack>,
}

#[derive(Default)]
struct UnderWay {
    requests: HashMap<u32, Pending>,
    next: u32,
    bytes: usize,
    /// By acker: epochs in order, and whether their outputs are in. Partitions answer in any order.
    outputs: BTreeMap<Acker, VecDeque<(u64, u32, bool)>>,
    /// Acknowledged outputs that the sequencer has not heard of.
    told: Vec<(Acker, u64)>,
}

/// Counters, for metrics.
#[derive(Default)]
pub(super) struct Stats {
    pub requests: AtomicU64,
    pub refused: AtomicU64,
    pub synced: AtomicU64,
}

/// Called when the log cannot go on.
pub(super) type OnFatal = Arc<dyn Fn(Fatal) + Send + Sync>;

pub(super) struct State {
    pub layout: Layout,
    /// Names of the topics.
    pub names: Vec<String>,
    pub places: Vec<Place>,
    pub queue_bytes: usize,
    pub tail_bytes: usize,
    pub subscribers: Subscribers,
    pub stats: Stats,
    pub complaints: Arc<Complaints>,
    pub closed: AtomicBool,
    /// Skip what is gone: the operator has accepted the gap.
    pub accept_gap: bool,
    /// Offset of our fence, or [`NO_FENCE`].
    pub generation: AtomicU64,
    /// Partitions of `events.raw` that are followed; all, if it is not set.
    pub only: OnceLock<Vec<u16>>,
    /// Of events, for what follows from them.
    pub traces: Traces,
    /// What stands where in the topics, as of the last look.
    pub prints: Mutex<Prints>,
    fatal: OnFatal,
    under_way: Mutex<UnderWay>,
    /// The sequencer has something to look at.
    bell: (Mutex<bool>, Condvar),
}

/// Which message of which part of which request: what the library carries for us through a delivery, in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub slot: u32,
    pub part: u16,
    pub first: bool,
    pub last: bool,
}
/// The log is opened to read, or its fence is not there yet.
pub(super) const NO_FENCE: u64 = u64::MAX;
/// The slot of entries of `pulse.epochs`.
pub(super) const ENTRY: u32 = 0;
impl Tag {
    pub fn pack(self) -> usize {
        (self.slot as usize) << 18 | usize::from(self.part) << 2 | usize::from(self.first) << 1 | usize::from(self.last)
    }
    pub fn unpack(tag: usize) -> Tag {
        Tag { slot: (tag >> 18) as u32, part: (tag >> 2) as u16, first: tag & 2 != 0, last: tag & 1 != 0 }
    }
}

impl State {
    pub fn new(
        layout: Layout,
        names: Vec<String>,
        bounds: Vec<(u64, u64, u64)>,
        (queue_bytes, tail_bytes): (usize, usize),
        complaints: Arc<Complaints>,
        accept_gap: bool,
        fatal: OnFatal,
    ) -> State {
        let place = |(partition, (base, start, end)): (Partition, (u64, u64, u64))| Place {
            partition,
            base,
            start: start.into(),
            end: end.into(),
            taken: end.into(),
            followed: Mutex::default(),
            arrived: Condvar::new(),
        };
        State {
            places: layout.all().zip(bounds).map(place).collect(),
            layout,
            names,
            queue_bytes,
            tail_bytes,
            subscribers: Subscribers::default(),
            stats: Stats::default(),
            complaints,
            closed: AtomicBool::new(false),
            accept_gap,
            generation: AtomicU64::new(NO_FENCE),
            only: OnceLock::new(),
            traces: Traces::default(),
            prints: Mutex::default(),
            fatal,
            under_way: Mutex::new(UnderWay { next: ENTRY + 1, ..UnderWay::default() }),
            bell: Default::default(),
        }
    }
    pub fn place(&self, partition: Partition) -> Option<&Place> {
        self.layout.find(partition).and_then(|at| self.places.get(at))
    }
    pub fn name(&self, topic: Topic) -> &str {
        self.names.get(topic as usize).map_or(topic.name(), String::as_str)
    }
    /// The place of what the brokers call so.
    pub fn find(&self, name: &str, number: i32) -> Option<usize> {
        let topic = TOPICS.into_iter().find(|topic| self.name(*topic) == name)?;
        self.layout.find(partition(topic, u16::try_from(number).ok()?))
    }
    pub fn closed(&self) -> bool {
        self.closed.load(Acquire)
    }
    /// The log cannot go on; the process ends, unless a test says otherwise: then the log is closed.
    pub fn fail(&self, fatal: Fatal) {
        if !self.closed.swap(true, AcqRel) {
            (self.fatal)(fatal);
        }
        self.ring();
        self.abandon();
    }
    /// Everybody who waits for an acknowledgement hears that there is none.
    pub fn abandon(&self) {
        let requests = std::mem::take(&mut locked(&self.under_way).requests);
        for ack in requests.into_values().filter_map(|pending| pending.ack) {
            ack(Err(closed()));
        }
    }

    /// The sequencer shall look.
    pub fn ring(&self) {
        *locked(&self.bell.0) = true;
        self.bell.1.notify_one();
    }
    /// Waits for the bell, not longer than `patience`.
    pub fn await_bell(&self, patience: Duration) {
        let rung = locked(&self.bell.0);
        let (mut rung, _) =
            self.bell.1.wait_timeout_while(rung, patience, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }

    /// Enters a request whose parts have `sizes.0` records-bearing places; its slot, or why not.
    pub fn enter(
        &self,
        (parts, bytes): (usize, usize),
        expect: Option<(usize, u64)>,
        outputs: Option<(Acker, u64)>,
        ack: &mut Option<Ack>,
    ) -> Result<u32, LogError> {
        if self.closed() {
            return Err(closed());
        }
        let mut under = locked(&self.under_way);
        // outputs are bounded by the epochs in flight; a request larger than the bound is taken when it is alone
        if outputs.is_none() && parts > 0 && under.bytes > 0 && under.bytes + bytes > self.queue_bytes {
            return Err(LogError::Unavailable("too much waits for the brokers".into()));
        }
        let mut slot = under.next;
        while slot == ENTRY || under.requests.contains_key(&slot) {
            slot = slot.wrapping_add(1);
        }
        under.next = slot.wrapping_add(1);
        under.bytes += bytes;
        if let Some((acker, epoch)) = outputs {
            under.outputs.entry(acker).or_default().push_back((epoch, slot, false));
        }
        let pending = Pending {
            first: vec![0; parts],
            left: parts,
            bytes,
            expect,
            outputs: outputs.map(|(acker, _)| acker),
            ack: ack.take(),
        };
        under.requests.insert(slot, pending);
        Ok(slot)
    }
    /// The first offset of parts that have no records: where they would be.
    pub fn set_first(&self, slot: u32, part: usize, offset: u64) {
        if let Some(first) = locked(&self.under_way).requests.get_mut(&slot).and_then(|p| p.first.get_mut(part)) {
            *first = offset;
        }
    }
    /// A part came to its end (or had no records).
    pub fn part_done(&self, slot: u32) {
        let mut under = locked(&self.under_way);
        let Some(pending) = under.requests.get_mut(&slot) else { return };
        pending.left = pending.left.saturating_sub(1);
        if pending.left == 0 {
            self.finish(under, slot);
        }
    }
    /// A request without any parts is done at once.
    pub fn all_done(&self, slot: u32) {
        self.finish(locked(&self.under_way), slot);
    }
    fn finish(&self, mut under: std::sync::MutexGuard<UnderWay>, slot: u32) {
        let Some(pending) = under.requests.remove(&slot) else { return };
        under.bytes = under.bytes.saturating_sub(pending.bytes);
        if let Some(acker) = pending.outputs {
            let UnderWay { outputs, told, .. } = &mut *under;
            let queue = outputs.entry(acker).or_default();
            queue.iter_mut().filter(|(_, of, _)| *of == slot).for_each(|(_, _, done)| *done = true);
            let mut newest = None;
            while let Some((epoch, _, true)) = queue.front() {
                newest = Some(*epoch);
                queue.pop_front();
            }
            told.extend(newest.map(|epoch| (acker, epoch)));
        }
        drop(under);
        self.stats.requests.fetch_add(1, Relaxed);
        if pending.outputs.is_none() {
            self.stats.synced.fetch_add(1, Relaxed);
        }
        self.ring();
        let missed = pending.expect.is_some_and(|(part, at)| pending.first.get(part).is_some_and(|first| *first != at));
        if let Some(ack) = pending.ack {
            ack(if missed { Err(LogError::Unexpected) } else { Ok(pending.first) });
        }
    }
    /// A record was refused for good. Of inputs who sent them is told; without outputs nothing can go on.
    pub fn refused(&self, slot: u32, why: &str) {
        let mut under = locked(&self.under_way);
        let Some(pending) = under.requests.remove(&slot) else { return };
        under.bytes = under.bytes.saturating_sub(pending.bytes);
        drop(under);
        if pending.outputs.is_some() {
            return self.fail(Fatal::Failed(format!("outputs were not taken: {why}")));
        }
        self.stats.refused.fetch_add(1, Relaxed);
        if let Some(ack) = pending.ack {
            ack(Err(LogError::Unavailable(why.into())));
        }
    }
    /// Outputs that came in since the last call.
    pub fn take_told(&self) -> Vec<(Acker, u64)> {
        std::mem::take(&mut locked(&self.under_way).told)
    }
    /// Requests under way.
    pub fn waiting(&self) -> usize {
        locked(&self.under_way).requests.len()
    }
}

pub(super) fn closed() -> LogError {
    LogError::Unavailable("the log is closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let layout = Layout { partitions: 1 };
        let bounds = vec![(0, 0, 0); layout.len()];
        State::new(layout, vec![], bounds, (100, 0), Arc::default(), false, Arc::new(|_| {}))
    }

    #[test]
    fn tags_survive_the_library() {
        for slot in [0, 1, 77, u32::MAX] {
            for (part, first, last) in [(0, true, false), (9, false, true), (u16::MAX, true, true)] {
                let tag = Tag { slot, part, first, last };
                assert_eq!(Tag::unpack(tag.pack()), tag);
            }
        }
    }

    /// Partitions answer in any order; an epoch counts only when all before it do.
    #[test]
    fn outputs_are_told_in_the_order_of_epochs() {
        let state = state();
        let slots: Vec<u32> =
            (1..=3).map(|epoch| state.enter((1, 1), None, Some((0, epoch)), &mut None).unwrap()).collect();
        state.part_done(slots[2]);
        state.part_done(slots[1]);
        assert_eq!(state.take_told(), []);
        state.part_done(slots[0]);
        assert_eq!(state.take_told(), [(0, 3)]);
    }

    #[test]
    fn input_beyond_the_bound_is_refused_and_outputs_are_not() {
        let state = state();
        let large = state.enter((1, 1000), None, None, &mut None).unwrap();
        assert!(matches!(state.enter((1, 1), None, None, &mut None), Err(LogError::Unavailable(_))));
        assert!(state.enter((1, 1), None, Some((0, 1)), &mut None).is_ok());
        state.part_done(large);
        assert!(state.enter((1, 50), None, None, &mut None).is_ok());
    }
}
