//! Topics that take over from another log: `pulse move`.
//!
//! Carried over are control records (what is in force is read from their beginning) and records that a reader has not taken up. All
//! other partitions begin empty, where the old ones ended: a fence says so with its bases, so no offset comes twice, and causes,
//! positions and checkpoints go on meaning what they meant. Behind the fence stands the entry of the checkpoint that is carried.
//! All of it can be done again while nobody has written anything else. Deliberately absent: the checkpoint itself, and seeing to it
//! that nobody writes to the old log.

use super::client::{Access, Ear};
use super::fence::Known;
use super::offsets::{self, Ask};
use super::open::{Options, made, state};
use super::prints::Prints;
use super::produce::Producer;
use super::reader::KafkaReader;
use super::state::State;
use super::{KafkaConfig, topics};
use crate::log::OpenError;
use crate::log::layout::Layout;
use pulse_dataflows::epochs::Entry;
use pulse_dataflows::ports::{EventLog, LogReader, Meta, Partition, Records, Request, TOPICS, Topic, partition};
use rdkafka::consumer::BaseConsumer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Records of one request.
const AT_ONCE: usize = 1000;

/// Topics that are there, and have no events yet.
pub struct Founding {
    access: Access,
    consumer: BaseConsumer<Ear>,
    partitions: u16,
}

/// Where the carried checkpoint stands in the new log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founded {
    /// Its entry.
    pub entry: Entry,
    /// Offset behind it in `pulse.epochs`.
    pub next: u64,
}

impl Founding {
    /// Reaches the brokers, makes or checks the topics, and refuses those that hold events. `partitions`: of the old log.
    pub fn prepare(brokers: &str, config: &KafkaConfig, keep_ms: i64, partitions: u16) -> Result<Founding, OpenError> {
        let access = Access::new(brokers, config)?;
        let consumer = access.asking()?;
        let there = topics::ensure(&access, &consumer, keep_ms)?;
        if there < partitions {
            return Err(OpenError::Topic {
                topic: access.name(Topic::Raw),
                setting: "partitions".into(),
                why: format!("are {there}, must be at least {partitions} as in the log that is moved"),
            });
        }
        let founding = Founding { access, consumer, partitions: there };
        let ends = founding.ends()?;
        let inputs = |p: &Partition| matches!(p.topic, Topic::Raw | Topic::Labels | Topic::Scored | Topic::Rejected);
        match ends.iter().find(|(p, end)| inputs(p) && **end > 0) {
            Some((p, _)) => Err(founding.in_use(*p)),
            None => Ok(founding),
        }
    }
    fn in_use(&self, p: Partition) -> OpenError {
        OpenError::Topic {
            topic: self.access.name(p.topic),
            setting: "its records".into(),
            why: "are of another installation: move into topics that are empty (delete these, or choose another log.kafka.prefix)".into(),
        }
    }
    fn ends(&self) -> Result<BTreeMap<Partition, u64>, OpenError> {
        let all = made(&self.access, self.partitions, &Known::default());
        let ends = offsets::ask(&self.consumer, &all, Ask::End, self.access.patience());
        let ends = ends.map_err(|e| self.access.unreachable(&e))?;
        Ok(all.iter().zip(ends).map(|((_, p, _), end)| (*p, end.unwrap_or(0))).collect())
    }
    /// Carries the records from `carried` on, and lets the topics begin where `old` ends and `entry` stands.
    pub fn write(
        &self,
        old: &dyn EventLog,
        carried: &BTreeMap<Partition, u64>,
        mut entry: Entry,
    ) -> Result<Founded, OpenError> {
        let (there, bases) = (self.ends()?, bases(old, carried));
        let known = Known { bases, ..Known::default() };
        let layout = Layout { partitions: self.partitions };
        let bound = |p: Partition| {
            let base = known.base(p);
            (base, base, base + there.get(&p).copied().unwrap_or(0))
        };
        let state = state(&self.access, self.partitions, layout.all().map(bound).collect(), &Options::default());
        let producer = Producer::start(&self.access, self.access.complaints.clone())?;
        producer.attach(&state);
        for p in layout.all().filter(|p| p.topic != Topic::Epochs) {
            self.carry(old, &producer, &state, p)?;
        }
        let ends: Vec<(Partition, u64)> = self.ends()?.into_iter().collect();
        let headers = known.headers(&ends, &Prints::new());
        let failed = |why| OpenError::Broker { setting: "log.brokers", why: format!("pulse.epochs: {why}") };
        let generation = producer.fence(&state, headers, self.access.patience()).map_err(failed)?;
        entry.widen(self.partitions);
        entry.generation = generation;
        let meta = Meta { time_ms: entry.clock_ms, ..Meta::default() };
        let records = Records::of(meta, &entry.to_bytes());
        let at = self.append(&producer, &state, partition(Topic::Epochs, 0), records)?;
        Ok(Founded { entry, next: at + 1 })
    }
    /// Brings a partition to where the old one ends. What an attempt before has carried must be there as it was.
    fn carry(
        &self,
        old: &dyn EventLog,
        producer: &Producer,
        state: &Arc<State>,
        p: Partition,
    ) -> Result<(), OpenError> {
        let Some(place) = state.place(p) else { return Ok(()) };
        let (from, to) = (place.base, if has(old, p) { old.end(p) } else { 0 });
        let done = place.end.load(std::sync::atomic::Ordering::Acquire);
        if done > to {
            return Err(self.in_use(p));
        }
        let before = |reader: &mut dyn LogReader, upto: u64| {
            let mut all = Vec::new();
            let mut take = |_: u64, meta: Meta, value: &[u8]| all.push((meta.cause, value.to_vec()));
            reader.each(p, from, upto, &mut take).map(|_| all)
        };
        let broken = |e: pulse_dataflows::ports::LogError| OpenError::Damaged(format!("{}: {e}", p.topic.name()));
        if done > from {
            let there = before(&mut KafkaReader::new(state.clone(), self.access.clone()), done).map_err(broken)?;
            if there != before(&mut *old.reader(), done).map_err(broken)? {
                return Err(self.in_use(p));
            }
        }
        let (mut reader, mut next) = (old.reader(), done);
        while next < to {
            let upto = to.min(next + AT_ONCE as u64);
            let mut records = Records::default();
            reader.each(p, next, upto, &mut |_, meta, value| records.push(meta, value)).map_err(broken)?;
            self.append(producer, state, p, records)?;
            next = upto;
        }
        Ok(())
    }
    /// Appends and waits; the first offset.
    fn append(&self, producer: &Producer, state: &State, p: Partition, records: Records) -> Result<u64, OpenError> {
        let (tx, rx) = std::sync::mpsc::channel();
        let ack: pulse_dataflows::ports::Ack = Box::new(move |outcome| {
            let _ = tx.send(outcome); // who asked may have given up
        });
        producer.append(state, Request { parts: vec![(p, records)], ack: Some(ack), ..Request::default() });
        let failed =
            |why: String| OpenError::Broker { setting: "log.brokers", why: format!("{}: {why}", p.topic.name()) };
        let outcome = rx.recv_timeout(self.access.patience()).map_err(|_| failed("no answer in time".into()))?;
        Ok(outcome.map_err(|e| failed(e.to_string()))?.first().copied().unwrap_or(0))
    }
}

/// Has a log this partition?
fn has(log: &dyn EventLog, p: Partition) -> bool {
    p.number < log.partitions(p.topic)
}

/// Where the new partitions begin: with what is carried, or where the old ones end.
fn bases(old: &dyn EventLog, carried: &BTreeMap<Partition, u64>) -> BTreeMap<Partition, u64> {
    let topics = TOPICS.into_iter().filter(|topic| *topic != Topic::Epochs);
    let all = topics.flat_map(|topic| (0..old.partitions(topic)).map(move |number| partition(topic, number)));
    let of = |p: Partition| (p, carried.get(&p).map_or(old.end(p), |from| (*from).clamp(old.start(p), old.end(p))));
    all.map(of).collect()
}
