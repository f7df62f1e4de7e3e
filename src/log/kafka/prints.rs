//! What stands at one offset of each partition: by it a topic that was made anew, and filled again beyond what was read, is told from
//! the one that was there. (Brokers give topics ids, but the client library does not hand them out.)
//!
//! The prints go into headers of `pulse.epochs` (`fence`), and are looked at when the log is opened and now and then (`watch`).
//! Deliberately absent: a print of every record. One near the end is enough: records in front of it are gone with it.

use super::client::{Access, Ear};
use super::offsets::Named;
use crate::log::OpenError;
use pulse_dataflows::ports::Partition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(20);

/// By partition: an offset, and the hash of the record there.
pub(super) type Prints = BTreeMap<Partition, (u64, u64)>;

/// By partition: where it begins and ends.
pub(super) type Bounds = BTreeMap<Partition, (u64, u64)>;

/// The hash of a record.
pub(super) fn print(time_ms: i64, value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, time_ms as u64)
}

/// Reads single records.
pub(super) struct Printer(BaseConsumer<Ear>);

impl Printer {
    pub fn new(access: &Access) -> Result<Printer, OpenError> {
        Ok(Printer(access.asking()?))
    }
    /// Prints of the records at these offsets. Left out: where there is no record, as where a transaction ended, and what does not
    /// come in time.
    pub fn read(&self, wanted: &[(Named, u64)], patience: Duration) -> Prints {
        let (mut prints, mut list) = (Prints::new(), TopicPartitionList::new());
        for ((name, p, base), offset) in wanted {
            let at = Offset::Offset(offset.saturating_sub(*base) as i64);
            if list.add_partition_offset(name, i32::from(p.number), at).is_err() {
                return prints;
            }
        }
        if wanted.is_empty() || self.0.assign(&list).is_err() {
            return prints;
        }
        let until = Instant::now() + patience;
        let mut seen = vec![false; wanted.len()];
        // ends come with the number of the partition alone, so they are counted
        let (mut all, mut ended) = (BTreeMap::<i32, usize>::new(), BTreeMap::<i32, usize>::new());
        wanted.iter().for_each(|((_, p, _), _)| *all.entry(i32::from(p.number)).or_default() += 1);
        let left = |seen: &[bool], ended: &BTreeMap<i32, usize>| {
            let empty = |number: i32| ended.get(&number) >= all.get(&number);
            wanted.iter().zip(seen).any(|(((_, p, _), _), seen)| !seen && !empty(i32::from(p.number)))
        };
        while left(&seen, &ended) && Instant::now() < until {
            let message = match self.0.poll(POLL) {
                Some(Ok(message)) => message,
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    *ended.entry(number).or_default() += 1;
                    continue;
                }
                _ => continue,
            };
            let of = |((name, p, _), _): &(Named, u64)| {
                name == message.topic() && i32::from(p.number) == message.partition()
            };
            let Some(at) = wanted.iter().position(of).filter(|at| !seen[*at]) else { continue };
            seen[at] = true;
            let ((_, p, base), offset) = &wanted[at];
            if message.offset().max(0) as u64 + base == *offset {
                let time = message.timestamp().to_millis().unwrap_or(0);
                prints.insert(*p, (*offset, print(time, message.payload().unwrap_or_default())));
            }
        }
        let _ = self.0.unassign(); // what is assigned next replaces it anyway
        prints
    }
    /// The partitions where something else stands than was known; `bounds`: where partitions begin and end now.
    pub fn differs(&self, known: &Prints, all: &[Named], bounds: &Bounds, patience: Duration) -> Vec<Partition> {
        let there =
            |p: &Partition, offset: u64| bounds.get(p).is_some_and(|(start, end)| (*start..*end).contains(&offset));
        let wanted = |of: &Named| known.get(&of.1).filter(|(at, _)| there(&of.1, *at)).map(|(at, _)| (of.clone(), *at));
        let wanted: Vec<(Named, u64)> = all.iter().filter_map(wanted).collect();
        let now = self.read(&wanted, patience);
        now.into_iter().filter(|(p, print)| known.get(p).is_some_and(|known| known != print)).map(|(p, _)| p).collect()
    }
    /// Prints of the newest records.
    pub fn newest(&self, all: &[Named], bounds: &Bounds, patience: Duration) -> Prints {
        let last =
            |of: &Named| bounds.get(&of.1).filter(|(start, end)| start < end).map(|(_, end)| (of.clone(), end - 1));
        self.read(&all.iter().filter_map(last).collect::<Vec<_>>(), patience)
    }
}

/// As a header.
pub(super) fn text(prints: &Prints) -> String {
    let one =
        |(p, (offset, hash)): (&Partition, &(u64, u64))| format!("{}/{}={offset}:{hash:x}", p.topic as u8, p.number);
    prints.iter().map(one).collect::<Vec<_>>().join(",")
}

/// What that says of one partition, behind the `=`.
pub(super) fn parse(text: &str) -> Option<(u64, u64)> {
    let (offset, hash) = text.split_once(':')?;
    Some((offset.parse().ok()?, u64::from_str_radix(hash, 16).ok()?))
}
