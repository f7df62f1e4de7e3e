//! A reader that has found another one at work: it looks on, and takes over when that one has stood still with records in front of it.
//!
//! Deliberately absent: a lock. Whoever takes over too early loses at the compare-and-set, and looks on again.

use crate::store::positions::Position;
use pulse_dataflows::ports::Partition;
use std::time::Duration;

/// How often it looks.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// So many looks in a row nothing may move before it takes over: a store that is slow or just back must not make two readers take
/// turns.
const STILL: u32 = 3;

/// What was seen of the other reader.
#[derive(Default)]
pub(super) struct Standby {
    seen: Vec<(Partition, Position)>,
    still: u32,
}

impl Standby {
    /// The other reader is here now; `behind`: there are records in front of it. Is it to be replaced?
    pub fn look(&mut self, now: Vec<(Partition, Position)>, behind: bool) -> bool {
        self.still = if behind && now == self.seen { self.still + 1 } else { 0 };
        self.seen = now;
        self.still >= STILL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulse_dataflows::ports::{Topic, partition};

    #[test]
    fn only_who_stands_still_with_records_in_front_is_replaced() {
        let at = |next| vec![(partition(Topic::Scored, 0), Position { next, cause: None })];
        let mut standby = Standby::default();
        let looks =
            [(1, true), (1, true), (1, true), (2, true), (2, true), (2, true), (2, false), (2, true), (2, true)];
        assert!(looks.into_iter().all(|(next, behind)| !standby.look(at(next), behind)));
        assert!(standby.look(at(2), true));
    }
}
