//! Durations of the stages inside the dataflow: it says where each epoch is, here is the clock.
//!
//! `enrich` goes from the look into the log to the answers of all entities (read, decode, country and device, duplicates,
//! entities), `score` from there to the hand-over to the log (features, rules, model, threshold, decision). Both are of an
//! epoch, whatever it holds, because its events wait for each other.
//! Deliberately absent: waiting inside the log; `append` and `ingest_to_alert` have it.

use super::shared::{Shared, Stage};
use pulse_dataflows::tally::{Mark, Tally};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Epochs of a worker that are followed at a time: more than may be in flight.
const FOLLOWED: usize = 64;

/// One worker's epochs between two marks.
#[derive(Default)]
struct Open {
    looked: Option<Instant>,
    taken: VecDeque<(u64, Instant)>,
    enriched: VecDeque<(u64, Instant)>,
}
impl Open {
    /// The duration that ends with this mark.
    fn mark(&mut self, epoch: u64, mark: Mark, now: Instant) -> Option<(Stage, Instant)> {
        match mark {
            Mark::Looked => self.looked = Some(now),
            Mark::Taken => follow(&mut self.taken, epoch, self.looked?),
            Mark::Enriched => {
                follow(&mut self.enriched, epoch, now);
                return Some((Stage::Enrich, since(&mut self.taken, epoch)?));
            }
            Mark::Scored => return Some((Stage::Score, since(&mut self.enriched, epoch)?)),
        }
        None
    }
}
fn follow(open: &mut VecDeque<(u64, Instant)>, epoch: u64, since: Instant) {
    if open.len() == FOLLOWED {
        open.pop_front();
    }
    open.push_back((epoch, since));
}
/// Epochs leave in the order in which they came; one that is passed over was never seen to end.
fn since(open: &mut VecDeque<(u64, Instant)>, epoch: u64) -> Option<Instant> {
    while let Some((of, at)) = open.pop_front() {
        if of == epoch {
            return Some(at);
        }
    }
    None
}

/// Watches a dataflow of so many workers from now on. Each has a place of its own: none waits for another.
pub fn watch(tally: &Tally, workers: usize, shared: Shared) {
    let open: Vec<Mutex<Open>> = (0..workers).map(|_| Mutex::default()).collect();
    tally.watch(Box::new(move |worker, epoch, mark| {
        let Some(open) = open.get(worker) else { return };
        let ended = open.lock().unwrap_or_else(PoisonError::into_inner).mark(epoch, mark, Instant::now());
        if let Some((stage, since)) = ended {
            shared.observe_stage(stage, since.elapsed());
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_ends_what_it_began() {
        let (mut open, begun) = (Open::default(), Instant::now());
        let at = |ms| begun + std::time::Duration::from_millis(ms);
        assert!(open.mark(1, Mark::Taken, at(0)).is_none(), "nobody looked");
        for epoch in [7, 8] {
            assert!(open.mark(0, Mark::Looked, at(epoch)).is_none());
            assert!(open.mark(epoch, Mark::Taken, at(epoch + 1)).is_none());
        }
        assert_eq!(open.mark(7, Mark::Enriched, at(20)), Some((Stage::Enrich, at(7))));
        assert_eq!(open.mark(8, Mark::Enriched, at(30)), Some((Stage::Enrich, at(8))));
        assert_eq!(open.mark(8, Mark::Scored, at(40)), Some((Stage::Score, at(30))));
        assert!(open.mark(7, Mark::Scored, at(50)).is_none(), "passed over");
        for epoch in 0..10_000 {
            let _ = open.mark(epoch, Mark::Taken, at(60)); // only how many are kept counts here
        }
        assert_eq!(open.taken.len(), FOLLOWED);
    }
}
