//! Where partitions begin and end, asked of the brokers for all of them at once.

use super::client::Ear;
use super::state::{Place, State};
use pulse_dataflows::ports::Partition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

/// A partition: name of its topic, and what is added to its offsets.
pub(super) type Named = (String, Partition, u64);

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Start,
    End,
    /// First record at or after this time, ms.
    Time(i64),
}

/// Pause before a question is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// The offsets of `all` in their order; `None` where there is no record of that time. Asked again while leaders are only being
/// chosen, as for topics that have just been made.
pub(super) fn ask(
    consumer: &BaseConsumer<Ear>,
    all: &[Named],
    what: Ask,
    patience: Duration,
) -> KafkaResult<Vec<Option<u64>>> {
    let until = Instant::now() + patience;
    loop {
        let answer = ask_once(consumer, all, what, patience);
        let passing = answer.as_ref().err().and_then(KafkaError::rdkafka_error_code).is_some_and(|code| {
            use RDKafkaErrorCode as Code;
            let passing = [
                Code::BrokerTransportFailure,
                Code::FencedLeaderEpoch,
                Code::KafkaStorageError,
                Code::LeaderNotAvailable,
                Code::NotLeaderForPartition,
                Code::OffsetNotAvailable,
                Code::ReplicaNotAvailable,
                Code::RequestTimedOut,
                Code::UnknownLeaderEpoch,
                Code::UnknownTopicOrPartition,
            ];
            passing.contains(&code)
        });
        if !passing || Instant::now() > until {
            return answer;
        }
        std::thread::sleep(AGAIN);
    }
}

fn ask_once(
    consumer: &BaseConsumer<Ear>,
    all: &[Named],
    what: Ask,
    patience: Duration,
) -> KafkaResult<Vec<Option<u64>>> {
    if all.is_empty() {
        return Ok(vec![]);
    }
    let mut list = TopicPartitionList::with_capacity(all.len());
    let offset = match what {
        Ask::Start => Offset::Beginning,
        Ask::End => Offset::End,
        Ask::Time(ms) => Offset::Offset(ms.max(0)),
    };
    for (name, p, _) in all {
        list.add_partition_offset(name, i32::from(p.number), offset)?;
    }
    let found = consumer.offsets_for_times(list, patience)?;
    all.iter()
        .map(|(name, p, base)| {
            let of = found.find_partition(name, i32::from(p.number)).ok_or(KafkaError::NoMessageReceived)?;
            of.error()?;
            match of.offset() {
                Offset::Offset(at) => Ok(Some(at.max(0) as u64 + base)),
                Offset::End if matches!(what, Ask::Time(_)) => Ok(None),
                _ => Err(KafkaError::NoMessageReceived),
            }
        })
        .collect()
}

/// All partitions of a log with the names of their topics.
pub(super) fn named(state: &State) -> Vec<Named> {
    state.places.iter().map(|place| one(state, place)).collect()
}

/// One of them.
pub(super) fn one(state: &State, place: &Place) -> Named {
    (state.name(place.partition.topic).to_owned(), place.partition, place.base)
}
