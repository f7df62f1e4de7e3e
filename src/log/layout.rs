//! Topics and partitions numbered through: the place of a partition in arrays, and the name of its table.
//!
//! The order is that of the topics, so `pulse.epochs` comes behind the inputs: who publishes ends in this order never
//! shows an entry before the records that it names.

use pulse_dataflows::ports::{LogError, Partition, TOPICS, Topic, partition};

/// The places of all partitions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Partitions of the partitioned topics.
    pub partitions: u16,
}
impl Layout {
    /// Partitions of a topic.
    pub fn count(&self, topic: Topic) -> u16 {
        if topic.partitioned() { self.partitions } else { 1 }
    }
    /// All partitions in the order of their places.
    pub fn all(&self) -> impl Iterator<Item = Partition> + '_ {
        TOPICS.into_iter().flat_map(|topic| (0..self.count(topic)).map(move |number| partition(topic, number)))
    }
    /// The place of a partition, if there is one.
    pub fn find(&self, partition: Partition) -> Option<usize> {
        let before = TOPICS.iter().take(partition.topic as usize).map(|t| self.count(*t) as usize).sum::<usize>();
        (partition.number < self.count(partition.topic)).then_some(before + partition.number as usize)
    }
    /// The place of a partition, or the error for who asks for one that is not there.
    pub fn place(&self, partition: Partition) -> Result<usize, LogError> {
        self.find(partition).ok_or_else(|| {
            LogError::Damaged(format!("there is no partition {} of {}", partition.number, partition.topic.name()))
        })
    }
    /// Number of places.
    pub fn len(&self) -> usize {
        TOPICS.iter().map(|t| self.count(*t) as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_dense_in_topic_order() {
        for partitions in [1, 3, 12] {
            let layout = Layout { partitions };
            let places: Vec<_> = layout.all().map(|p| layout.find(p)).collect();
            assert_eq!(places, (0..layout.len()).map(Some).collect::<Vec<_>>());
            assert_eq!(layout.find(partition(Topic::Raw, partitions)), None);
            assert_eq!(layout.find(partition(Topic::Epochs, 1)), None);
        }
    }
}
