//! The `traceparent` of events, for the headers of what follows from them.
//!
//! Read with the events, kept in memory for a while; after a restart they are read again. Deliberately absent: any promise. A
//! trace that is gone costs a header, not an output.

use crate::log::locked;
use pulse_dataflows::ports::Cause;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Mutex};

/// Events whose traces are kept: twice those of the epochs in flight.
const KEPT: usize = 1 << 16;

/// Traces by partition and offset of `events.raw`.
#[derive(Default)]
pub(super) struct Traces {
    /// Was there ever one? Most shops have none, and pay nothing.
    any: AtomicBool,
    kept: Mutex<Kept>,
}
#[derive(Default)]
struct Kept {
    by_event: HashMap<(u16, u64), Arc<str>>,
    order: VecDeque<(u16, u64)>,
}

impl Traces {
    /// Keeps that of an event.
    pub fn keep(&self, event: (u16, u64), trace: &str) {
        self.any.store(true, Release);
        let mut kept = locked(&self.kept);
        if kept.by_event.insert(event, trace.into()).is_none() {
            kept.order.push_back(event);
        }
        if kept.order.len() > KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_event.remove(&oldest);
        }
    }
    /// That of the event which an output follows from.
    pub fn of(&self, cause: Cause) -> Option<Arc<str>> {
        if !self.any.load(Acquire) {
            return None;
        }
        locked(&self.kept).by_event.get(&(cause.partition, cause.offset)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_traces_go() {
        let (traces, cause) = (Traces::default(), |offset| Cause { partition: 1, offset, kind: 0 });
        assert_eq!(traces.of(cause(0)), None);
        (0..=KEPT as u64).for_each(|offset| traces.keep((1, offset), "t"));
        assert_eq!((traces.of(cause(0)), traces.of(cause(1)).as_deref()), (None, Some("t")));
    }
}
