//! The newest fence of `pulse.epochs`, and what its headers say: where everything ended when it was written, and from which offset
//! on a topic that was made anew counts.
//!
//! A topic that is made anew begins at 0 again, but nobody may see an offset twice: causes, positions and epochs rest on that. So
//! once its loss is accepted its records count from where the old ones ended (`base`). Deliberately absent: a `pulse.epochs`
//! that was made anew; without it nothing is known.

use super::client::Access;
use super::prints::{self, Prints};
use crate::log::OpenError;
use pulse_dataflows::epochs::{Entry, inputs};
use pulse_dataflows::ports::{Partition, Topic, partition};
use pulse_dataflows::quarantine::Quarantine;
use rdkafka::consumer::Consumer;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A zombie has at most the epochs in flight behind a newer fence, so the newest is among the last records, or is the one that the
/// newest entry names.
const LAST: u64 = 64;
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);
/// What is added to the end that is known of outputs: more than were written since.
const BEYOND: u64 = 1 << 32;

const ENDS: &str = "ends";
const BASES: &str = "bases";
const PRINTS: &str = "prints";

/// What the newest fence and the newest entry say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Where partitions ended at least.
    pub ends: BTreeMap<Partition, u64>,
    /// What is added to the brokers' offsets.
    pub bases: BTreeMap<Partition, u64>,
    /// What stood where.
    pub prints: Prints,
}

impl Known {
    /// What is added to a partition's offsets.
    pub fn base(&self, p: Partition) -> u64 {
        self.bases.get(&p).copied().unwrap_or(0)
    }
    /// Compares with what is there: (partition, the brokers' end), and partitions where something `else_` stands than before.
    /// `accept`: what is gone is gone.
    pub fn compare(&mut self, there: &[(Partition, u64)], else_: &[Partition], accept: bool) -> Result<(), OpenError> {
        for (p, end) in there {
            let known = self.ends.get(p).copied().unwrap_or(0);
            let end = end + self.base(*p);
            if end >= known && !else_.contains(p) {
                continue;
            }
            let (name, number) = (p.topic.name(), p.number);
            if !accept || p.topic == Topic::Epochs {
                let way =
                    if p.topic == Topic::Epochs { "" } else { "; --accept-gap goes on from the first that is there" };
                let why = if end < known {
                    format!(
                        "ends at {end}, but {known} records were there: the topic was made anew, and at least {} records are gone",
                        known - end
                    )
                } else {
                    let at = self.prints.get(p).map_or(0, |print| print.0);
                    format!(
                        "has another record at {at} than before: the topic was made anew and filled again, and the {known} records that were there are gone"
                    )
                };
                return Err(OpenError::Gap(format!("partition {number} of {name} {why}{way}")));
            }
            let input = matches!(p.topic, Topic::Raw | Topic::Labels | Topic::Control);
            tracing::warn!(
                topic = name,
                partition = number,
                known,
                end,
                "the topic was made anew, and that is accepted"
            );
            self.bases.insert(*p, if input { known } else { known + BEYOND });
            self.prints.remove(p);
        }
        Ok(())
    }
    /// Headers of the next fence.
    pub fn headers(&self, ends: &[(Partition, u64)], prints: &Prints) -> OwnedHeaders {
        let text = |of: &mut dyn Iterator<Item = (Partition, u64)>| {
            of.map(|(p, n)| format!("{}/{}={n}", p.topic as u8, p.number)).collect::<Vec<_>>().join(",")
        };
        let ends = text(&mut ends.iter().map(|(p, end)| (*p, end + self.base(*p))));
        let bases = text(&mut self.bases.iter().map(|(p, base)| (*p, *base)));
        let headers = OwnedHeaders::new().insert(Header { key: ENDS, value: Some(&ends) });
        prints_header(headers.insert(Header { key: BASES, value: Some(&bases) }), prints)
    }
}

/// Adds prints to the headers of a record of `pulse.epochs`.
pub(super) fn prints_header(headers: OwnedHeaders, of: &Prints) -> OwnedHeaders {
    headers.insert(Header { key: PRINTS, value: Some(&prints::text(of)) })
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn parse<V>(text: &str, value: fn(&str) -> Option<V>) -> BTreeMap<Partition, V> {
    let one = |part: &str| {
        let (place, of) = part.split_once('=')?;
        let (topic, number) = place.split_once('/')?;
        let topic = *pulse_dataflows::ports::TOPICS.get(topic.parse::<usize>().ok()?)?;
        Some((partition(topic, number.parse().ok()?), value(of)?))
    };
    text.split(',').filter_map(one).collect()
}

/// A record of `pulse.epochs`: offset, headers, value.
type Record = (u64, Option<OwnedHeaders>, Vec<u8>);

/// Reads what is known; `bounds`: where `pulse.epochs` begins and ends, `partitions`: of `events.raw`.
pub(super) fn known(access: &Access, (start, end): (u64, u64), partitions: u16) -> Result<Known, OpenError> {
    let last = read(access, start.max(end.saturating_sub(LAST)), end)?;
    let generation = |value: &[u8]| {
        Entry::parse(value).map(|e| e.generation).or_else(|| Quarantine::parse(value).map(|(generation, _)| generation))
    };
    let named = last.iter().rev().find_map(|(_, _, value)| generation(value));
    let newest = last.iter().rev().find(|(_, _, value)| value.is_empty()).cloned();
    let fence = match (newest, named.filter(|at| (start..end).contains(at))) {
        (Some(fence), _) => Some(fence),
        (None, Some(at)) => read(access, at, at + 1)?.into_iter().next(),
        (None, None) => None,
    };
    let mut known = Known::default();
    for header in fence.iter().filter_map(|(_, headers, _)| headers.as_ref()).flat_map(|headers| headers.iter()) {
        let text = header.value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        match header.key {
            ENDS => known.ends = parse(text, number),
            BASES => known.bases = parse(text, number),
            PRINTS => known.prints = parse(text, prints::parse),
            _ => {}
        }
    }
    // those of the newest record that has some; a fence that was read for itself lies in front of all of them
    for header in last.iter().filter_map(|(_, headers, _)| headers.as_ref()).flat_map(|headers| headers.iter()) {
        if header.key == PRINTS {
            let text = header.value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
            known.prints = parse(text, prints::parse);
        }
    }
    let entries = last.iter().filter_map(|(_, _, value)| Entry::parse(value).filter(|_| !value.is_empty()));
    if let Some(mut entry) = entries.max_by_key(|entry| entry.epoch) {
        entry.widen(partitions);
        for (p, end) in inputs(partitions).into_iter().zip(entry.ends) {
            let known = known.ends.entry(p).or_default();
            *known = end.max(*known);
        }
    }
    Ok(known)
}

/// The records `[from, to)`.
fn read(access: &Access, from: u64, to: u64) -> Result<Vec<Record>, OpenError> {
    let mut records = Vec::new();
    if from >= to {
        return Ok(records);
    }
    let consumer = access.fetching()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&access.name(Topic::Epochs), 0, Offset::Offset(from as i64))
        .and_then(|()| consumer.assign(&list))
        .map_err(|e| access.unreachable(&e))?;
    let until = Instant::now() + access.patience();
    loop {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                let offset = message.offset().max(0) as u64;
                let headers = message.headers().map(rdkafka::message::BorrowedHeaders::detach);
                records.push((offset, headers, message.payload().unwrap_or_default().to_vec()));
                if offset + 1 >= to {
                    return Ok(records);
                }
            }
            Some(Err(error)) if Instant::now() > until => return Err(access.unreachable(&error)),
            None if Instant::now() > until => {
                let why = format!("records {from} to {to} of pulse.epochs do not come");
                return Err(OpenError::Broker { setting: "log.brokers", why });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fence_says_is_read_back_and_compared() {
        let (raw, scored) = (partition(Topic::Raw, 3), partition(Topic::Scored, 0));
        let mut known = Known::default();
        known.bases.insert(raw, 100);
        let of = Prints::from([(raw, (106, u64::MAX)), (scored, (3, 0))]);
        let headers = known.headers(&[(raw, 7), (scored, 50)], &of);
        let text: Vec<&str> = headers.iter().map(|h| std::str::from_utf8(h.value.unwrap()).unwrap()).collect();
        assert_eq!(parse(text[0], number), BTreeMap::from([(raw, 107), (scored, 50)]));
        assert_eq!(parse(text[1], number), known.bases);
        assert_eq!(parse(text[2], prints::parse), of);
        (known.ends, known.prints) = (parse(text[0], number), of);
        assert!(known.compare(&[(raw, 7), (scored, 50)], &[], false).is_ok());
        let filled = known.compare(&[(raw, 90), (scored, 50)], &[raw], false).unwrap_err().to_string();
        assert!(filled.contains("another record at 106") && filled.contains("--accept-gap"), "{filled}");
        let gone = known.compare(&[(raw, 2), (scored, 50)], &[], false).unwrap_err().to_string();
        assert!(gone.contains("ends at 102, but 107") && gone.contains("5 records are gone"), "{gone}");
        known.compare(&[(raw, 2), (scored, 3)], &[], true).unwrap();
        assert_eq!((known.base(raw), known.base(scored)), (107, 50 + BEYOND), "nobody sees an offset twice");
        let epochs = partition(Topic::Epochs, 0);
        known.ends.insert(epochs, 9);
        assert!(known.compare(&[(epochs, 0)], &[], true).is_err());
    }
}
