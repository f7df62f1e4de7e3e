//! RudderStack's SDKs: the calls, routes and members of `segment`, which reads them, and these:
//!
//! | theirs | native event |
//! |---|---|
//! | `originalTimestamp`, else `timestamp`; corrected by `sentAt` when that clock is a minute off or more | `time` |
//! | `context.sessionId` | `session_id` |
//! | `context.traits.email` | `email_hash` |
//! | `channel`, `rudderId`, `_metadata` | not kept; by them a body is known to be RudderStack's |
//!
//! Deliberately absent: their routes for pages that put the key into the address.

/// Does this member of an item say that it is theirs?
pub fn marks(name: &[u8]) -> bool {
    matches!(name, b"channel" | b"rudderId" | b"originalTimestamp")
}
