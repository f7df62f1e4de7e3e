//! What a worker is at, so that a panic can name its cause; and decoding, which alone survives one.
//!
//! Operators are not guarded: state that a panic left half changed must not be used again, so the process ends. Decoding is
//! a pure function, so its panic is one more reason to refuse an input.
//! Deliberately absent: what becomes of the process, and who remembers the cause (the root does both).

use crate::record::Reject;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Name of [`guarded`] decoding as a step.
pub const DECODE: &str = "decode";

thread_local! {
    static STEP: Cell<Option<&'static str>> = const { Cell::new(None) };
    static ORDER: Cell<Option<u64>> = const { Cell::new(None) };
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// A step that this thread is in, until it is dropped.
pub struct Working(());

/// This thread begins to apply records, one after another. Steps do not nest.
pub fn working(step: &'static str) -> Working {
    STEP.set(Some(step));
    Working(())
}

impl Working {
    /// At the record with this order (partition and offset, as in [`crate::keyed::Keyed::order`]).
    #[inline]
    pub fn at(&self, order: u64) {
        ORDER.set(Some(order));
        #[cfg(debug_assertions)]
        armed::fire(STEP.get(), order);
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        STEP.set(None);
        ORDER.set(None);
    }
}

/// The cause of what goes on in a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Name of the step.
    pub step: &'static str,
    /// Partition of `events.raw`.
    pub partition: u16,
    /// Offset there.
    pub offset: u64,
}

/// What this thread is at; `None` between records.
pub fn current() -> Option<Cause> {
    let (step, order) = (STEP.get()?, ORDER.get()?);
    Some(Cause { step, partition: (order >> 48) as u16, offset: order & ((1 << 48) - 1) })
}

/// Would a panic of this thread be caught right where it is? Then it is no reason to end the process.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

/// Runs a pure function of an input; its panic is a reject.
pub fn guarded<T>(order: u64, decode: impl FnOnce() -> Result<T, Reject>) -> Result<T, Reject> {
    GUARDED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        working(DECODE).at(order);
        decode()
    }));
    GUARDED.set(false);
    outcome.unwrap_or_else(|_| Err(Reject::undecodable()))
}

/// Faults that tests plant: a panic at a step and record. Not in the released program.
#[cfg(debug_assertions)]
pub mod armed {
    use std::sync::OnceLock;

    static FAULTS: OnceLock<Vec<(String, u64)>> = OnceLock::new();

    /// From now on the steps panic at these orders; only the first call counts.
    pub fn arm(faults: Vec<(String, u64)>) {
        let _ = FAULTS.set(faults);
    }
    pub(super) fn fire(step: Option<&str>, order: u64) {
        let Some(faults) = FAULTS.get() else { return };
        if faults.iter().any(|(name, at)| *at == order && step == Some(name)) {
            panic!("a planted fault");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_decoding_is_a_reject_and_the_thread_goes_on() {
        let outcome: Result<(), Reject> = guarded(7, || {
            assert!(is_guarded());
            panic!("no such number")
        });
        assert_eq!(outcome.map_err(|r| r.code), Err("undecodable"));
        assert!(!is_guarded() && current().is_none());
        assert_eq!(guarded(8, || Ok(5)).ok(), Some(5));
    }

    #[test]
    fn the_cause_is_known_while_a_record_is_applied_and_not_behind_it() {
        let step = working("Entities");
        assert_eq!(current(), None);
        step.at(3 << 48 | 77);
        assert_eq!(current(), Some(Cause { step: "Entities", partition: 3, offset: 77 }));
        drop(step);
        assert_eq!(current(), None);
    }
}
