//! Where partitions begin and end, asked of the brokers for all of them at once.

use super::client::Ear;
use super::state::State;
use pulse_dataflows::ports::Partition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Start,
    End,
    /// First record at or after this time, ms.
    Time(i64),
}

/// The offsets of `all` in their order; `None` where there is no record of that time.
pub(super) fn ask(
    consumer: &BaseConsumer<Ear>,
    all: &[(String, Partition)],
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
    for (name, p) in all {
        list.add_partition_offset(name, i32::from(p.number), offset)?;
    }
    let found = consumer.offsets_for_times(list, patience)?;
    all.iter()
        .map(|(name, p)| {
            let of = found.find_partition(name, i32::from(p.number)).ok_or(KafkaError::NoMessageReceived)?;
            of.error()?;
            match of.offset() {
                Offset::Offset(at) => Ok(Some(at.max(0) as u64)),
                Offset::End if matches!(what, Ask::Time(_)) => Ok(None),
                _ => Err(KafkaError::NoMessageReceived),
            }
        })
        .collect()
}

/// All partitions of a log with the names of their topics.
pub(super) fn named(state: &State) -> Vec<(String, Partition)> {
    state.places.iter().map(|p| (state.name(p.partition.topic).to_owned(), p.partition)).collect()
}
