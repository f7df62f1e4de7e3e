//! Ids that the log has acknowledged lately, so that a client's retry hears `duplicate` at once. Two generations: the older
//! one is forgotten as a whole when the younger is full.
//!
//! Deliberately absent: certainty. What is forgotten here is appended again, and the dataflow removes it.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;
use xxhash_rust::xxh3::Xxh3;

/// 128-bit hash of (source, id), with a seed of this process: nobody can make an id that collides with another's.
pub type Identity = u128;

/// An identity is a hash already: its low bits are as good as any.
#[derive(Default)]
pub struct Low64(u64);
impl Hasher for Low64 {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }
    fn write_u128(&mut self, n: u128) {
        self.0 = n as u64;
    }
}
/// Identities.
pub type Set = HashSet<Identity, BuildHasherDefault<Low64>>;

#[derive(Default)]
struct Generations {
    young: Set,
    old: Set,
}

/// The memory.
pub struct Recent {
    generations: Mutex<Generations>,
    half: usize,
    seed: u64,
}

impl Recent {
    /// Remembers at least the last half of `capacity` ids and at most `capacity`.
    pub fn new(capacity: usize) -> Recent {
        let mut seed = [0; 8];
        if let Err(error) = getrandom::fill(&mut seed) {
            tracing::warn!(%error, "no randomness for the memory of ids"); // still correct for all but attackers
        }
        Recent { generations: Mutex::default(), half: (capacity / 2).max(1), seed: u64::from_le_bytes(seed) }
    }
    /// The identity of an event.
    pub fn identity(&self, source: &str, id: &str) -> Identity {
        let mut hash = Xxh3::with_seed(self.seed);
        hash.update(&(source.len() as u64).to_le_bytes());
        hash.update(source.as_bytes());
        hash.update(id.as_bytes());
        hash.digest128()
    }
    /// Was it acknowledged lately?
    pub fn contains(&self, identity: Identity) -> bool {
        let generations = self.generations.lock().unwrap_or_else(|e| e.into_inner());
        generations.young.contains(&identity) || generations.old.contains(&identity)
    }
    /// These are acknowledged.
    pub fn insert(&self, identities: impl IntoIterator<Item = Identity>) {
        let mut generations = self.generations.lock().unwrap_or_else(|e| e.into_inner());
        for identity in identities {
            if generations.young.len() >= self.half {
                let full = std::mem::take(&mut generations.young);
                generations.old = full;
            }
            generations.young.insert(identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_half_is_always_known_and_never_more_than_the_capacity() {
        let recent = Recent::new(10);
        for i in 0..100_u128 {
            recent.insert([i]);
            assert!((i.saturating_sub(4)..=i).all(|j| recent.contains(j)), "{i}");
            let generations = recent.generations.lock().unwrap();
            assert!(generations.young.len() + generations.old.len() <= 10);
        }
        assert!(!recent.contains(0));
    }

    #[test]
    fn identities_tell_source_from_id() {
        let recent = Recent::new(10);
        assert_ne!(recent.identity("ab", "c"), recent.identity("a", "bc"));
        assert_eq!(recent.identity("a", "b"), recent.identity("a", "b"));
    }
}
