//! One transaction's worth: waiting requests merged by partition, with the sequencer's entries behind them.
//!
//! Both logs build their transactions here, so that expectations, offsets and the hook's calls cannot differ.
//! Deliberately absent: writing it down.

use super::layout::Layout;
use pulse_dataflows::ports::{Ack, Block, Hook, LogError, Meta, Records, Request, Topic, partition};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Records in a block at most: a reader gets whole blocks, so this bounds what one small read costs.
pub(crate) const BLOCK_RECORDS: usize = 1024;
/// Bytes in a block of more than one record at most, for the same reason (and far below SQLite's 1 GB for a value).
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// A transaction, ready to be written.
pub(crate) struct Batch {
    /// Records by place.
    parts: BTreeMap<usize, Records>,
    acks: Vec<(Ack, Result<Vec<u64>, LogError>)>,
    /// It promises durability (of itself, or, when it has no records, of the outputs in front of it), so sync.
    pub sync: bool,
    /// The hook has input that waits for outputs.
    pub waiting: bool,
}

impl Batch {
    /// Merges `requests` behind `ends` (by place), tells the hook of outputs, and adds what it cuts.
    pub fn gather(
        layout: &Layout,
        ends: &dyn Fn(usize) -> u64,
        requests: Vec<Request>,
        mut hook: Option<&mut (dyn Hook + 'static)>,
        now_ms: i64,
    ) -> Batch {
        let mut batch = Batch { parts: BTreeMap::new(), acks: Vec::new(), sync: false, waiting: false };
        for mut request in requests {
            let ack = request.ack.take();
            let acker = request.outputs;
            let outcome = batch.take(layout, ends, request);
            if let (Some(hook), Some((acker, epoch)), Ok(_)) = (&mut hook, acker, &outcome) {
                hook.outputs(acker, epoch);
            }
            batch.acks.extend(ack.map(|ack| (ack, outcome)));
        }
        if let Some(hook) = hook {
            let reach = |p| layout.find(p).map_or(0, |place| batch.reach(ends, place));
            let entries = hook.cut(&reach);
            batch.sync |= !entries.is_empty();
            if let Some(place) = layout.find(partition(Topic::Epochs, 0)) {
                for entry in &entries {
                    let meta = Meta { time_ms: now_ms, ..Meta::default() };
                    batch.parts.entry(place).or_default().push(meta, entry);
                }
            }
            batch.waiting = hook.waiting();
        }
        batch
    }
    /// Where the partition ends with what is merged so far.
    fn reach(&self, ends: &dyn Fn(usize) -> u64, place: usize) -> u64 {
        ends(place) + self.parts.get(&place).map_or(0, |records| records.len() as u64)
    }
    /// Adds a request whole, or not at all.
    fn take(&mut self, layout: &Layout, ends: &dyn Fn(usize) -> u64, request: Request) -> Result<Vec<u64>, LogError> {
        if let Some((expected, at)) = request.expect
            && self.reach(ends, layout.place(expected)?) != at
        {
            return Err(LogError::Unexpected);
        }
        let places = request.parts.iter().map(|(p, _)| layout.place(*p)).collect::<Result<Vec<_>, _>>()?;
        self.sync |= request.outputs.is_none();
        let mut first = Vec::with_capacity(places.len());
        for (place, (_, records)) in places.into_iter().zip(request.parts) {
            first.push(self.reach(ends, place));
            if !records.is_empty() {
                self.parts.entry(place).or_default().append(records);
            }
        }
        Ok(first)
    }
    /// The topics of the records.
    pub fn topics(&self, layout: &Layout) -> Vec<Topic> {
        let mut topics: Vec<_> =
            layout.all().enumerate().filter(|(at, _)| self.parts.contains_key(at)).map(|(_, p)| p.topic).collect();
        topics.dedup();
        topics
    }
    /// The records as blocks, in the order of places and offsets; `None` when records do not make a block (nothing may be
    /// left out in silence).
    pub fn blocks(&self, ends: &dyn Fn(usize) -> u64) -> Option<Vec<(usize, Arc<Block>)>> {
        let mut blocks = Vec::new();
        for (place, records) in &self.parts {
            let mut from = 0;
            while from < records.len() {
                let (to, bytes) = cut_block(records, from);
                blocks.push((*place, Arc::new(Block::new(ends(*place) + from as u64, bytes)?)));
                from = to;
            }
        }
        Some(blocks)
    }
    /// Tells everyone who asked how it went: call when the transaction is committed and published.
    pub fn answer(self) {
        for (ack, outcome) in self.acks {
            ack(outcome);
        }
    }
}

/// As many records from `from` on as one block may hold, at least one: where it stops, and the block.
fn cut_block(records: &Records, from: usize) -> (usize, Vec<u8>) {
    let mut to = records.len().min(from + BLOCK_RECORDS);
    loop {
        let bytes = records.block(from, to);
        if bytes.len() <= BLOCK_BYTES || to == from + 1 {
            return (to, bytes);
        }
        to = from + (to - from) / 2;
    }
}

/// The newest time in a block.
pub(crate) fn newest_time_ms(block: &Block) -> i64 {
    (block.base..block.end()).map(|offset| block.record(offset).0.time_ms).max().unwrap_or(i64::MIN)
}

/// First offset in the block from `from` on whose time is at or after `time_ms`.
pub(crate) fn first_at(block: &Block, from: u64, time_ms: i64) -> Option<u64> {
    (from.max(block.base)..block.end()).find(|offset| block.record(*offset).0.time_ms >= time_ms)
}
