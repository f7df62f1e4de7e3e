//! A log in memory: for tests, and for backtest on files. Nothing survives the process; all else is as in the port.
//!
//! There is no writer thread: each append is its own transaction in the caller's thread, so wake-ups and answers come
//! before `append` returns. Neither may append from within a hook.

use super::batch::{Batch, first_at};
use super::layout::Layout;
use super::{Subscribers, locked, now_ms};
use pulse_dataflows::ports::{
    Block, EventLog, Hook, LogError, LogReader, Meta, Partition, Records, Request, Topic, partition,
};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Place {
    start: u64,
    end: u64,
    blocks: VecDeque<Arc<Block>>,
}

struct State {
    places: Vec<Place>,
    hook: Option<Box<dyn Hook>>,
    bytes: usize,
}

/// What the log and its readers share.
struct Shared {
    layout: Layout,
    bytes_max: usize,
    state: Mutex<State>,
    subscribers: Subscribers,
}

/// A log in memory.
pub struct MemoryLog {
    shared: Arc<Shared>,
}
impl MemoryLog {
    /// An empty log with a fence in `pulse.epochs`. Beyond `bytes_max` bytes of blocks input is refused until a trim.
    pub fn new(partitions: u16, bytes_max: usize) -> Arc<MemoryLog> {
        let layout = Layout { partitions };
        let places = (0..layout.len()).map(|_| Place::default()).collect();
        let state = Mutex::new(State { places, hook: None, bytes: 0 });
        let log =
            MemoryLog { shared: Arc::new(Shared { layout, bytes_max, state, subscribers: Subscribers::default() }) };
        let meta = Meta { time_ms: now_ms(), ..Meta::default() };
        log.append(Request {
            parts: vec![(partition(Topic::Epochs, 0), Records::of(meta, b""))],
            ..Request::default()
        });
        Arc::new(log)
    }
    /// Bytes of blocks in memory.
    pub fn bytes(&self) -> usize {
        locked(&self.shared.state).bytes
    }
    /// Writes requests and what the hook adds.
    fn transact(&self, requests: Vec<Request>) {
        let shared = &self.shared;
        let mut state = locked(&shared.state);
        let State { places, hook, bytes } = &mut *state;
        let ends = |at: usize| places.get(at).map_or(0, |place| place.end);
        let batch = Batch::gather(&shared.layout, &ends, requests, hook.as_deref_mut(), now_ms());
        let Some(blocks) = batch.blocks(&ends) else { return }; // nobody is told that it is in
        for (at, block) in blocks {
            if let Some(place) = places.get_mut(at) {
                *bytes += block.bytes().len();
                place.end = block.end();
                place.blocks.push_back(block);
            }
        }
        if let Some(hook) = hook {
            hook.committed();
        }
        drop(state);
        shared.subscribers.wake(&batch.topics(&shared.layout));
        batch.answer();
    }
    fn with_place<R>(&self, partition: Partition, f: impl FnOnce(&Place) -> R) -> Option<R> {
        let at = self.shared.layout.find(partition)?;
        locked(&self.shared.state).places.get(at).map(f)
    }
}

impl EventLog for MemoryLog {
    fn partitions(&self, topic: Topic) -> u16 {
        self.shared.layout.count(topic)
    }
    fn generation(&self) -> u64 {
        0 // the fence is the first record
    }
    fn append(&self, mut request: Request) {
        let full = request.outputs.is_none() && !request.parts.is_empty() && self.bytes() >= self.shared.bytes_max;
        if !full {
            self.transact(vec![request]);
        } else if let Some(ack) = request.ack.take() {
            ack(Err(LogError::Unavailable("its memory is full".into())));
        }
    }
    fn start(&self, partition: Partition) -> u64 {
        self.with_place(partition, |place| place.start).unwrap_or(0)
    }
    fn end(&self, partition: Partition) -> u64 {
        self.with_place(partition, |place| place.end).unwrap_or(0)
    }
    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(MemoryReader { shared: self.shared.clone() })
    }
    fn offset_for_time(&self, partition: Partition, time_ms: i64) -> Result<u64, LogError> {
        self.shared.layout.place(partition)?;
        let find = |place: &Place| place.blocks.iter().find_map(|b| first_at(b, b.base, time_ms)).unwrap_or(place.end);
        Ok(self.with_place(partition, find).unwrap_or(0))
    }
    fn subscribe(&self, topics: &[Topic], wake: Box<dyn Fn() + Send + Sync>) {
        self.shared.subscribers.add(topics, wake);
    }
    fn trim(&self, partition: Partition, offset: u64) -> Result<(), LogError> {
        let at = self.shared.layout.place(partition)?;
        let mut state = locked(&self.shared.state);
        let State { places, bytes, .. } = &mut *state;
        let Some(place) = places.get_mut(at) else { return Ok(()) };
        // Whole blocks, and the newest stays, as on disk.
        while place.blocks.len() > 1 && place.blocks.front().is_some_and(|block| block.end() <= offset) {
            *bytes -= place.blocks.pop_front().map_or(0, |block| block.bytes().len());
        }
        place.start = place.blocks.front().map_or(place.start, |block| block.base);
        Ok(())
    }
    fn sync(&self) -> Result<(), LogError> {
        Ok(())
    }
    fn install(&self, hook: Box<dyn Hook>) {
        locked(&self.shared.state).hook = Some(hook);
        self.nudge();
    }
    fn nudge(&self) {
        self.transact(Vec::new());
    }
}

struct MemoryReader {
    shared: Arc<Shared>,
}
impl LogReader for MemoryReader {
    fn block(&mut self, partition: Partition, offset: u64) -> Result<Option<Arc<Block>>, LogError> {
        let at = self.shared.layout.place(partition)?;
        let state = locked(&self.shared.state);
        let Some(place) = state.places.get(at) else { return Ok(None) };
        if offset < place.start {
            return Err(LogError::Trimmed(place.start));
        }
        let at = place.blocks.partition_point(|block| block.base <= offset).checked_sub(1);
        Ok(at.and_then(|at| place.blocks.get(at)).filter(|block| offset < block.end()).cloned())
    }
}
