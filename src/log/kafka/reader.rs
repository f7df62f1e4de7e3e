//! Readers: from the tails in memory when they keep up, else with a consumer of their own.
//!
//! A consumer is made when the first block is needed that is not in memory, and lets a partition go once its reader has caught
//! up. Deliberately absent: subscriptions and committed offsets; who reads knows where.

use super::blocks::Gather;
use super::client::{Access, Ear};
use super::offsets::{self, Ask};
use super::record;
use super::state::{Place, State, closed};
use crate::log::batch::{BLOCK_BYTES, BLOCK_RECORDS};
use crate::log::locked;
use pulse_dataflows::ports::{Block, LogError, LogReader, Partition, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::*;
use std::time::{Duration, Instant};

/// How long a reader waits for the follower, which is told of new records in less than a millisecond, before it fetches.
const TAIL_PATIENCE: Duration = Duration::from_secs(2);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);
/// After so long without a record that should be there, the offsets are looked at.
const DOUBT: Duration = Duration::from_secs(2);
/// Bytes of blocks held ahead of a reader, over its partitions; then the fullest waits.
const AHEAD_BYTES: usize = 8 << 20;
/// A first fetch begins at a multiple of this: who walks back reads each block once.
const ALIGN: u64 = BLOCK_RECORDS as u64;

/// A partition that is fetched.
struct Ahead {
    gather: Gather,
    blocks: VecDeque<Arc<Block>>,
    bytes: usize,
    paused: bool,
}
impl Ahead {
    fn at(base: u64) -> Ahead {
        Ahead { gather: Gather::at(base), blocks: VecDeque::new(), bytes: 0, paused: false }
    }
    fn seal(&mut self) {
        for block in self.gather.finish() {
            self.bytes += block.bytes().len();
            self.blocks.push_back(block);
        }
    }
    /// The block with this offset; blocks before it are forgotten.
    fn find(&mut self, offset: u64) -> Option<Arc<Block>> {
        while self.blocks.front().is_some_and(|block| block.end() <= offset) {
            self.bytes -= self.blocks.pop_front().map_or(0, |block| block.bytes().len());
        }
        self.blocks.front().filter(|block| block.base <= offset).cloned()
    }
    /// Will fetching on come to this offset?
    fn reaches(&self, offset: u64) -> bool {
        offset >= self.blocks.front().map_or(self.gather.next(), |block| block.base)
    }
}

pub(super) struct KafkaReader {
    state: Arc<State>,
    access: Access,
    consumer: Option<BaseConsumer<Ear>>,
    /// Asks where partitions end, decided or not; made when there is doubt.
    asker: Option<BaseConsumer<Ear>>,
    ahead: BTreeMap<usize, Ahead>,
}

impl KafkaReader {
    pub fn new(state: Arc<State>, access: Access) -> KafkaReader {
        KafkaReader { state, access, consumer: None, asker: None, ahead: BTreeMap::new() }
    }
    /// From memory; `Ok(None)`: it must be fetched.
    fn tail(&self, at: usize, offset: u64) -> Result<Option<Arc<Block>>, LogError> {
        let Some(place) = self.state.places.get(at) else { return Ok(None) };
        let until = Instant::now() + TAIL_PATIENCE;
        let mut followed = locked(&place.followed);
        // acknowledged, but not here yet: the follower is about to bring it
        while followed.next.is_some_and(|next| next <= offset) {
            if self.state.closed() {
                return Err(closed());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            followed = place.arrived.wait_timeout(followed, left).unwrap_or_else(|e| e.into_inner()).0;
        }
        Ok(followed.tail.find(offset))
    }
    fn fetch(&mut self, at: usize, partition: Partition, offset: u64) -> Result<Arc<Block>, LogError> {
        self.assign(at, partition, offset)?;
        let mut heard = Instant::now();
        loop {
            if let Some(block) = self.ahead.get_mut(&at).and_then(|ahead| ahead.find(offset)) {
                return Ok(block);
            }
            if self.state.closed() {
                return Err(closed());
            }
            match self.poll(at, offset)? {
                true => heard = Instant::now(),
                false if heard.elapsed() > DOUBT => {
                    self.doubt(at, partition, offset)?;
                    heard = Instant::now();
                }
                false => {}
            }
        }
    }
    /// Sees to it that the partition is fetched from the offset, or a little before.
    fn assign(&mut self, at: usize, partition: Partition, offset: u64) -> Result<(), LogError> {
        if self.ahead.get(&at).is_some_and(|ahead| ahead.reaches(offset)) {
            return self.resume(at, partition);
        }
        let again = self.ahead.remove(&at).is_some();
        let Some(place) = self.state.places.get(at) else { return Ok(()) };
        let base = (offset - offset % ALIGN).max(place.start.load(Acquire));
        let consumer = match &mut self.consumer {
            Some(consumer) => consumer,
            none => none.insert(self.access.fetching().map_err(|e| LogError::Unavailable(e.to_string()))?),
        };
        let mut list = TopicPartitionList::new();
        let failed = |e: KafkaError| LogError::Unavailable(e.to_string());
        let (name, number) = (self.state.name(partition.topic), i32::from(partition.number));
        list.add_partition_offset(name, number, place.theirs(base)).map_err(failed)?;
        if again {
            consumer.incremental_unassign(&list).map_err(failed)?;
        }
        consumer.incremental_assign(&list).map_err(failed)?;
        self.ahead.insert(at, Ahead::at(base));
        Ok(())
    }
    /// A partition that waited for its reader is fetched on.
    fn resume(&mut self, at: usize, partition: Partition) -> Result<(), LogError> {
        let Some(ahead) = self.ahead.get_mut(&at).filter(|ahead| ahead.paused && ahead.bytes < AHEAD_BYTES / 2) else {
            return Ok(());
        };
        ahead.paused = false;
        self.switch(partition, |consumer, list| consumer.resume(list))
    }
    fn switch(
        &self,
        partition: Partition,
        how: impl Fn(&BaseConsumer<Ear>, &TopicPartitionList) -> Result<(), KafkaError>,
    ) -> Result<(), LogError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(self.state.name(partition.topic), i32::from(partition.number));
        let done = self.consumer.as_ref().map_or(Ok(()), |consumer| how(consumer, &list));
        done.map_err(|e| LogError::Unavailable(e.to_string()))
    }
    /// The reader keeps up: what comes next comes from memory, or is asked for again.
    fn release(&mut self, at: usize, partition: Partition) -> Result<(), LogError> {
        match self.ahead.remove(&at) {
            Some(_) => self.switch(partition, |consumer, list| consumer.incremental_unassign(list)),
            None => Ok(()),
        }
    }
    /// Takes what is there until the wanted record came; whether anything came.
    fn poll(&mut self, at: usize, offset: u64) -> Result<bool, LogError> {
        let Some(consumer) = &self.consumer else { return Ok(false) };
        let (mut wait, mut any, mut lost, mut full) = (POLL, false, false, Vec::new());
        loop {
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    any = true;
                    let found = self.state.find(message.topic(), message.partition());
                    if let Some(of) = found
                        && let (Some(ahead), Some(place)) = (self.ahead.get_mut(&of), self.state.places.get(of))
                    {
                        ahead.gather.take(place, &message);
                        if place.partition.topic == Topic::Raw
                            && let Some(trace) = record::trace(&message)
                        {
                            self.state.traces.keep((place.partition.number, place.ours(message.offset())), trace);
                        }
                        if ahead.gather.open_bytes() >= BLOCK_BYTES || ahead.gather.has_block() {
                            ahead.seal();
                        }
                        if ahead.bytes >= AHEAD_BYTES && !ahead.paused {
                            ahead.paused = true;
                            full.push(place.partition);
                        }
                    }
                    let there = self
                        .ahead
                        .get(&at)
                        .is_some_and(|ahead| ahead.gather.next() > offset && !ahead.blocks.is_empty());
                    if there || !full.is_empty() {
                        break;
                    }
                    wait = Duration::ZERO;
                }
                Some(Err(error)) => {
                    use RDKafkaErrorCode::*;
                    lost = matches!(error.rdkafka_error_code(), Some(AutoOffsetReset | OffsetOutOfRange));
                    break;
                }
                None => break,
            }
        }
        if let Some(ahead) = self.ahead.get_mut(&at).filter(|ahead| ahead.gather.next() > offset) {
            ahead.seal();
        }
        for partition in full {
            self.switch(partition, |consumer, list| consumer.pause(list))?;
        }
        if lost && let Some(place) = self.state.places.get(at) {
            self.doubt(at, place.partition, offset)?;
        }
        Ok(any)
    }
    /// A record that should be there does not come: is it gone, or is there nothing at its offset?
    fn doubt(&mut self, at: usize, partition: Partition, offset: u64) -> Result<(), LogError> {
        let (Some(consumer), Some(place)) = (&self.consumer, self.state.places.get(at)) else { return Ok(()) };
        let one = [offsets::one(&self.state, place)];
        let ask =
            |what| offsets::ask(consumer, &one, what, DOUBT).ok().and_then(|found| found.first().copied().flatten());
        let (Some(start), Some(end)) = (ask(Ask::Start), ask(Ask::End)) else {
            return Ok(()); // the brokers do not answer: wait on
        };
        place.start.fetch_max(start, AcqRel);
        if offset < start {
            return Err(LogError::Trimmed(start));
        }
        if end <= offset {
            // not decided yet, while a transaction is open in front of it? Or gone?
            let asker = match &self.asker {
                Some(asker) => asker,
                None => self.asker.insert(self.access.asking().map_err(|e| LogError::Unavailable(e.to_string()))?),
            };
            let high =
                offsets::ask(asker, &one, Ask::End, DOUBT).ok().and_then(|found| found.first().copied().flatten());
            let Some(end) = high.filter(|high| *high <= offset) else { return Ok(()) };
            let name = self.state.name(partition.topic);
            return Err(LogError::Damaged(format!(
                "partition {} of {name} ends at {end}, before {offset}: the topic was made anew",
                partition.number
            )));
        }
        let next = self.ahead.get(&at).map_or(offset, |ahead| ahead.gather.next());
        if !holes(&self.access, self.state.name(partition.topic), place, next, end) {
            return Ok(());
        }
        if let Some(ahead) = self.ahead.get_mut(&at) {
            ahead.gather.skip_to(end);
            ahead.seal();
        }
        Ok(())
    }
}

/// Is there no record in `[from, to)`, all of which is committed? Marks of transactions take offsets, and are not given out.
/// A consumer of its own that comes to the end of the partition without a record knows.
fn holes(access: &Access, name: &str, place: &Place, from: u64, to: u64) -> bool {
    let Ok(consumer) = access.consumer_with_eof() else { return false };
    let mut list = TopicPartitionList::new();
    let added = list.add_partition_offset(name, i32::from(place.partition.number), place.theirs(from));
    if added.is_err() || consumer.assign(&list).is_err() {
        return false;
    }
    let until = Instant::now() + DOUBT;
    while Instant::now() < until {
        match consumer.poll(POLL) {
            Some(Ok(message)) => return place.ours(message.offset()) >= to,
            Some(Err(KafkaError::PartitionEOF(_))) => return true,
            _ => {}
        }
    }
    false
}

impl LogReader for KafkaReader {
    fn block(&mut self, partition: Partition, offset: u64) -> Result<Option<Arc<Block>>, LogError> {
        let at = self.state.layout.place(partition)?;
        let Some(place) = self.state.places.get(at) else { return Ok(None) };
        let start = place.start.load(Acquire);
        if offset < start {
            if self.state.accept_gap {
                let mut gap = Gather::at(offset);
                gap.skip_to(start.min(offset + ALIGN));
                return Ok(gap.finish().into_iter().next());
            }
            return Err(LogError::Trimmed(start));
        }
        if offset >= place.end.load(Acquire) {
            self.release(at, partition)?;
            return Ok(None);
        }
        if let Some(block) = self.ahead.get_mut(&at).and_then(|ahead| ahead.find(offset)) {
            return Ok(Some(block));
        }
        if let Some(block) = self.tail(at, offset)? {
            self.release(at, partition)?;
            return Ok(Some(block));
        }
        self.fetch(at, partition, offset).map(Some)
    }
}
