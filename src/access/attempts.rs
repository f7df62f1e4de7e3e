//! Failed sign-ins: who guesses has to wait. Counted by address and by name, in a fixed number of slots, chosen by a hash with a secret of
//! this process: memory is bounded whatever addresses attackers have.
//!
//! Deliberately absent: several processes counting together; each has its own.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Within this time ...
const WINDOW: Duration = Duration::from_secs(600);
/// ... an address may be wrong so often: people need three tries, an office behind one address a few more ...
const OF_ADDRESS: u32 = 10;
/// ... and a name, from wherever: who is guessed at from many addresses can still sign in when the guessing stops.
const OF_NAME: u32 = 30;
/// Slots: as many entries at most.
const SLOTS: u64 = 65_536;

/// The counts.
#[derive(Default)]
pub struct Attempts {
    hasher: RandomState,
    counts: Mutex<HashMap<u64, (u32, Instant)>>,
}

impl Attempts {
    fn slot(&self, what: &impl Hash) -> u64 {
        self.hasher.hash_one(what) % SLOTS
    }

    /// Counts an attempt as failed until it is known to be good; or how long to wait.
    pub fn begin(&self, address: &impl Hash, name: &str) -> Result<(), Duration> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let bounds = [(self.slot(&("address", address)), OF_ADDRESS), (self.slot(&("name", name)), OF_NAME)];
        for (slot, most) in bounds {
            if let Some((count, since)) = counts.get(&slot)
                && *count >= most
                && since.elapsed() < WINDOW
            {
                return Err(WINDOW.saturating_sub(since.elapsed()));
            }
        }
        for (slot, _) in bounds {
            let entry = counts.entry(slot).or_insert((0, Instant::now()));
            if entry.1.elapsed() >= WINDOW {
                *entry = (0, Instant::now());
            }
            entry.0 += 1;
        }
        Ok(())
    }

    /// It was good: the name's count begins anew, and the address' is one less. (Else who has one account could guess at others
    /// for ever.)
    pub fn good(&self, address: &impl Hash, name: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.remove(&self.slot(&("name", name)));
        if let Some((count, _)) = counts.get_mut(&self.slot(&("address", address))) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_waits_and_others_do_not() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            assert!(attempts.begin(&"10.0.0.1", "anna").is_ok());
            attempts.good(&"10.0.0.1", "anna");
        }
        for i in 0..OF_ADDRESS {
            assert!(attempts.begin(&"10.0.0.2", &format!("n{i}")).is_ok());
        }
        assert!(attempts.begin(&"10.0.0.2", "n").is_err_and(|wait| wait <= WINDOW));
        assert!(attempts.begin(&"10.0.0.3", "n").is_ok());
        let refused = (0..100).filter(|i| attempts.begin(&(*i, "many"), "ben").is_err()).count();
        assert!((100 - OF_NAME as usize..=100 - OF_NAME as usize + 5).contains(&refused), "{refused}");
        (0..200_000).for_each(|i| {
            let _ = attempts.begin(&i, &format!("{i}"));
        });
        assert!(attempts.counts.lock().unwrap().len() as u64 <= SLOTS);
    }
}
