//! What is kept of an id, to notice that the same event came before.

use super::groups::Keep;

/// Duplicates are noticed within this time of append (contract 8).
pub const HORIZON_MS: i64 = 24 * 3_600_000;
/// Ids kept in a key-group: 4 million in all, which is 24 hours of 48 events a second. At the bound the oldest id of the
/// group is forgotten and counted; a duplicate of it would be scored again.
pub const IDS_PER_GROUP: usize = 4096;

/// The second half of an event's identity (the first is the key) and when it was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bitcode::Encode, bitcode::Decode)]
pub struct Seen {
    /// High 64 bits of the 128-bit keyed hash of (source, id).
    pub rest: u64,
    /// Append time, ms since the epoch.
    pub received_ms: i64,
}
impl Keep for Seen {
    fn active(&self, _now_ms: i64) -> bool {
        false // strictly first in, first out
    }
}
