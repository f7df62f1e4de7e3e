//! Quarantine: records of `events.raw` that ended the process again and again, and are left out from then on.
//!
//! Its records stand in `pulse.epochs`, so a replay leaves out the same. One is in force wherever it stands in what is still
//! to be read: who starts reads to the end of the epoch log first.
//! Deliberately absent: who decides it (the root, from its file of crashes).

use std::collections::BTreeSet;

/// Words of a record; an [`crate::epochs::Entry`] has at least one more.
const WORDS: usize = 4;

/// How much of an event is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// All of it: the source does not take it up, `events.rejected` says so.
    Event,
    /// What is told of it: its score has left before the crash and stands, it raises no alert.
    Alert,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quarantine {
    /// Partition of `events.raw`.
    pub partition: u16,
    /// Offset there.
    pub offset: u64,
    /// How much.
    pub extent: Extent,
}

impl Quarantine {
    /// As it is appended by a generation: little-endian words.
    pub fn to_bytes(self, generation: u64) -> Vec<u8> {
        let words = [generation, u64::from(self.partition), self.offset, u64::from(self.extent == Extent::Alert)];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
    /// Generation and record; `None` when the bytes are something else.
    pub fn parse(bytes: &[u8]) -> Option<(u64, Quarantine)> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: &[[u8; 8]; WORDS] = words.try_into().ok().filter(|_| rest.is_empty())?;
        let [generation, partition, offset, alert] = words.map(u64::from_le_bytes);
        let extent = if alert == 1 { Extent::Alert } else { Extent::Event };
        Some((generation, Quarantine { partition: u16::try_from(partition).ok()?, offset, extent }))
    }
}

/// All that is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantines(BTreeSet<Quarantine>);

impl Quarantines {
    /// One more.
    pub fn add(&mut self, quarantine: Quarantine) {
        self.0.insert(quarantine);
    }
    /// Is so much of the event left out?
    pub fn holds(&self, partition: u16, offset: u64, extent: Extent) -> bool {
        !self.0.is_empty() && self.0.contains(&Quarantine { partition, offset, extent })
    }
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// None?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epochs::Entry;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_survive_their_bytes_and_are_no_entries(generation: u64, partition: u16, offset: u64, alert: bool) {
            let extent = if alert { Extent::Alert } else { Extent::Event };
            let one = Quarantine { partition, offset, extent };
            let bytes = one.to_bytes(generation);
            prop_assert_eq!(Quarantine::parse(&bytes), Some((generation, one)));
            prop_assert_eq!(Entry::parse(&bytes), None);
            prop_assert_eq!(Quarantine::parse(&Entry::default().to_bytes()), None);
        }
    }
}
