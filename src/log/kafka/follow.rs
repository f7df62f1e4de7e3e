//! Follows the ends of topics that somebody reads live: one consumer for the whole process, whose records go to the tails in
//! memory, from which readers take them. Fetches wait at the broker, so a new record is here after half a round trip.
//!
//! A fence in `pulse.epochs` behind our own says that somebody else has taken over: what stands in front of it counts, what we
//! have written behind it counts for no reader, so this is the place to stop.
//!
//! Partitions come over connections of their own, so an entry may be here before the records that it names, when another process
//! has cut it. It is held back until they are, with what stands behind it.
//!
//! Deliberately absent: records from before; readers that are behind fetch for themselves.

use super::blocks::Gather;
use super::client::Ear;
use super::offsets::{self, Ask};
use super::prints;
use super::record;
use super::state::State;
use crate::log::{Fatal, locked};
use pulse_dataflows::epochs::{Entry, inputs};
use pulse_dataflows::ports::{Cause, HOLE, Meta, Partition, Topic, partition};
use pulse_dataflows::quarantine::Quarantine;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a poll waits: bounds how late a topic is added and a close noticed.
const POLL: Duration = Duration::from_millis(20);
/// Records taken before they are shown.
const BURST: usize = 4096;
/// How long a question about offsets waits.
const ASK: Duration = Duration::from_secs(10);

/// Places that are to be followed, and from where.
pub(super) type Wanted = Arc<Mutex<Vec<(usize, u64)>>>;

/// Asks for topics to be followed from their ends of now, `pulse.epochs` from our fence.
pub(super) fn want(state: &State, wanted: &Wanted, topics: &[Topic]) {
    let only = state.only.get();
    let ours = |p: Partition| {
        topics.contains(&p.topic) && (p.topic != Topic::Raw || only.is_none_or(|only| only.contains(&p.number)))
    };
    for (at, place) in state.places.iter().enumerate().filter(|(_, place)| ours(place.partition)) {
        let mut followed = locked(&place.followed);
        if followed.next.is_none() {
            let end = place.end.load(Acquire);
            // from our fence on: somebody may have replaced us before we looked
            let fence = state.generation.load(Acquire).saturating_add(1);
            let next = if place.partition.topic == Topic::Epochs { end.min(fence) } else { end };
            followed.next = Some(next);
            locked(wanted).push((at, next));
        }
    }
}

pub(super) struct Follower {
    pub state: Arc<State>,
    pub consumer: Arc<BaseConsumer<Ear>>,
    pub wanted: Wanted,
    gathers: BTreeMap<usize, Gather>,
    /// Records of `pulse.epochs` that wait for what they name; at most the epochs in flight.
    held: VecDeque<Held>,
}

/// A record of `pulse.epochs` that came too early.
struct Held {
    offset: u64,
    meta: Meta,
    value: Vec<u8>,
}

impl Follower {
    pub fn new(state: Arc<State>, consumer: Arc<BaseConsumer<Ear>>, wanted: Wanted) -> Follower {
        Follower { state, consumer, wanted, gathers: BTreeMap::new(), held: VecDeque::new() }
    }
    /// Runs until the log is closed.
    pub fn run(mut self) {
        while !self.state.closed() {
            self.add_wanted();
            self.round();
        }
    }
    /// Takes up what was asked for.
    fn add_wanted(&mut self) {
        let wanted = std::mem::take(&mut *locked(&self.wanted));
        if wanted.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (at, next) in wanted {
            let Some(place) = self.state.places.get(at) else { continue };
            let p = place.partition;
            self.gathers.insert(at, Gather::at(next));
            let added = list.add_partition_offset(self.state.name(p.topic), i32::from(p.number), place.theirs(next));
            if let Err(error) = added {
                return self.state.fail(Fatal::Failed(format!("{} cannot be followed: {error}", p.topic.name())));
            }
        }
        if let Err(error) = self.consumer.incremental_assign(&list) {
            self.state.fail(Fatal::Failed(format!("partitions cannot be assigned: {error}")));
        }
    }
    /// Takes what is there, and shows it.
    fn round(&mut self) {
        let (mut wait, mut taken) = (POLL, 0);
        while taken < BURST {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    if let Some(at) = self.state.find(message.topic(), message.partition())
                        && let (Some(gather), Some(place)) = (self.gathers.get_mut(&at), self.state.places.get(at))
                    {
                        let offset = place.ours(message.offset());
                        let epochs = place.partition.topic == Topic::Epochs;
                        if epochs && message.payload_len() == 0 && offset > self.state.generation.load(Acquire) {
                            return self.state.fail(Fatal::Fenced);
                        }
                        if epochs {
                            let (meta, value) = (record::meta(Topic::Epochs, &message), message.payload());
                            self.held.push_back(Held { offset, meta, value: value.unwrap_or_default().to_vec() });
                        } else {
                            gather.take(place, &message);
                        }
                        if place.partition.topic == Topic::Raw
                            && let Some(trace) = record::trace(&message)
                        {
                            self.state.traces.keep((place.partition.number, offset), trace);
                        }
                        if place.partition.topic == Topic::Scored {
                            self.follows_from(record::meta(Topic::Scored, &message).cause);
                        }
                        taken += 1;
                    }
                    wait = Duration::ZERO;
                }
                Some(Err(error)) => {
                    self.trouble(&error);
                    break;
                }
                None => break,
            }
        }
        if taken > 0 {
            self.release();
            self.show();
        }
    }
    /// What an output follows from is in `events.raw`, whether that is followed here or not: who wants it may wait for it.
    fn follows_from(&self, cause: Cause) {
        if let Some(raw) = self.state.place(partition(Topic::Raw, cause.partition)) {
            raw.end.fetch_max(cause.offset + 1, AcqRel);
        }
    }
    /// Lets entries go on whose records are there.
    fn release(&mut self) {
        let epochs = partition(Topic::Epochs, 0);
        let Some(at) = self.state.layout.find(epochs) else { return };
        while let Some(held) = self.held.pop_front() {
            if !self.covers(&held.value) {
                return self.held.push_front(held);
            }
            if let Some(gather) = self.gathers.get_mut(&at) {
                gather.take_at(held.offset, held.meta, &held.value);
            }
        }
    }
    /// Are the records that an entry names here, of all partitions that are followed?
    fn covers(&self, value: &[u8]) -> bool {
        let Some(mut entry) = Entry::parse(value).filter(|_| Quarantine::parse(value).is_none()) else { return true };
        entry.widen(self.state.layout.partitions);
        inputs(self.state.layout.partitions).into_iter().zip(entry.ends).all(|(p, end)| {
            let gather = self.state.layout.find(p).and_then(|at| self.gathers.get(&at));
            gather.is_none_or(|gather| gather.next() >= end)
        })
    }
    /// In the order of places, so that no entry of `pulse.epochs` is seen before what it names.
    fn show(&mut self) {
        let mut touched = Vec::new();
        let share = self.state.tail_bytes / self.state.places.len().max(1);
        for (at, gather) in &mut self.gathers {
            let blocks = gather.finish();
            let Some(place) = self.state.places.get(*at).filter(|_| !blocks.is_empty()) else { continue };
            let mut followed = locked(&place.followed);
            if let Some(block) = blocks.last()
                && let (meta, value) = block.record(block.end() - 1)
                && meta.cause.kind != HOLE
            {
                let print = (block.end() - 1, prints::print(meta.time_ms, value));
                locked(&self.state.prints).insert(place.partition, print);
            }
            for block in blocks {
                followed.next = Some(block.end());
                place.end.fetch_max(block.end(), AcqRel);
                followed.tail.push(block, share);
            }
            drop(followed);
            place.arrived.notify_all();
            touched.push(place.partition.topic);
        }
        touched.dedup();
        self.state.ring();
        self.state.subscribers.wake(&touched);
    }
    /// The library tries again by itself; what it cannot mend is looked at.
    fn trouble(&self, error: &KafkaError) {
        use RDKafkaErrorCode::{
            AutoOffsetReset, OffsetOutOfRange, UnknownPartition, UnknownTopic, UnknownTopicId, UnknownTopicOrPartition,
        };
        let code = error.rdkafka_error_code();
        let gone = [
            AutoOffsetReset,
            OffsetOutOfRange,
            UnknownTopicOrPartition,
            UnknownTopic,
            UnknownPartition,
            UnknownTopicId,
        ];
        if code.is_some_and(|code| gone.contains(&code)) {
            return self.look_for_gaps();
        }
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return self.state.fail(Fatal::Failed(format!("the consumer cannot go on: {error}")));
        }
        tracing::warn!(target: "kafka", %error, "following the topics; trying again");
        std::thread::sleep(POLL); // an error that comes back at once must not take the whole processor
    }
    /// Compares what was read with what is there.
    fn look_for_gaps(&self) {
        let all = offsets::named(&self.state);
        let all: Vec<_> = all
            .into_iter()
            .filter(|(_, p, _)| self.state.place(*p).is_some_and(|place| locked(&place.followed).next.is_some()))
            .collect();
        let bounds = offsets::ask(&self.consumer, &all, Ask::Start, ASK)
            .and_then(|starts| Ok((starts, offsets::ask(&self.consumer, &all, Ask::End, ASK)?)));
        let (starts, ends) = match bounds {
            Ok(bounds) => bounds,
            Err(error) => {
                return tracing::warn!(target: "kafka", %error, "the ends of the topics are not known; trying again");
            }
        };
        for (((name, p, _), start), end) in all.iter().zip(starts).zip(ends) {
            let Some(place) = self.state.place(*p) else { continue };
            let next = locked(&place.followed).next.unwrap_or(0);
            let (start, end) = (start.unwrap_or(0), end.unwrap_or(0));
            if let Some(why) = gap(name, p.number, next, (start, end)) {
                return self.state.fail(Fatal::Stopped(why));
            }
        }
    }
}

/// What is missing between what was read up to `next` and what is there.
pub(super) fn gap(name: &str, number: u16, next: u64, (start, end): (u64, u64)) -> Option<String> {
    if end < next {
        return Some(format!(
            "partition {number} of {name} ends at {end}, but {next} records were read: the topic was made anew, and {} records are gone",
            next - end
        ));
    }
    (start > next).then(|| {
        format!(
            "partition {number} of {name} begins at {start}, but only {next} records were read: {} records are gone (deleted, or older than the topic's retention)",
            start - next
        )
    })
}
