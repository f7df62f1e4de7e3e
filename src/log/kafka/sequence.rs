//! The sequencer's thread: hears of outputs that are in and of ends that have moved, and appends what the hook cuts.
//!
//! Entries are sent one behind the other without waiting; a fence among them is found by `follow`. Deliberately absent: when to
//! cut; that is the hook's.

use super::produce::Producer;
use super::state::State;
use crate::log::locked;
use pulse_dataflows::epochs::{Entry, inputs};
use pulse_dataflows::ports::{Hook, Partition};
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest sleep, should nobody ring: bounds how late a close is noticed.
const ASLEEP: Duration = Duration::from_millis(200);

/// Entries from one that carries prints to the next: `fence` looks at twice as many.
const PRINTS_EVERY: u64 = 32;

/// Entries that come later than this behind it carry some too: a process that ends soon has left its newest.
const PRINTS_AFTER: Duration = Duration::from_millis(500);

/// The installed hook.
pub(super) type Hooked = Arc<Mutex<Option<Box<dyn Hook>>>>;

/// Runs until the log is closed.
pub(super) fn run(state: &State, producer: &Producer, hooked: &Hooked) {
    let mut printed: Option<(Instant, u64)> = None;
    while !state.closed() {
        state.await_bell(ASLEEP);
        let mut hooked = locked(hooked);
        let Some(hook) = hooked.as_mut() else { continue };
        for (acker, epoch) in state.take_told() {
            hook.outputs(acker, epoch);
        }
        let ends = |p: Partition| state.place(p).map_or(0, |place| place.end.load(Acquire));
        for entry in hook.cut(&ends) {
            let due = printed.is_none_or(|(at, entries)| entries >= PRINTS_EVERY || at.elapsed() >= PRINTS_AFTER);
            let prints = due.then(|| locked(&state.prints).clone());
            printed = match (printed, due) {
                (Some((at, entries)), false) => Some((at, entries + 1)),
                _ => Some((Instant::now(), 1)),
            };
            producer.entry(state, &entry, prints.as_ref().filter(|prints| !prints.is_empty()));
            note(state, &entry);
        }
        hook.committed();
    }
}

/// How far the epochs are, for who asks how far they lag.
fn note(state: &State, entry: &[u8]) {
    let ends = Entry::parse(entry).map(|entry| entry.ends).unwrap_or_default();
    for (p, end) in inputs(state.layout.partitions).into_iter().zip(ends) {
        if let Some(place) = state.place(p) {
            place.taken.store(end, Release);
        }
    }
}
