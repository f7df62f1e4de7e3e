//! Why an event is not taken up: one constructor for each stable code.
//!
//! Messages name the field and the limit, never the input: a reject must not carry a card number into a log.
//! Deliberately absent: counting and keeping of rejects.

use super::Reject;
use super::json::{JsonError, MAX_DEPTH};

/// Bytes of an event as it comes (contract 1).
pub const MAX_EVENT_BYTES: usize = 32 * 1024;
/// Bytes that completion may add: `"id"` with 100 characters, escaped at the worst, and `"time"`.
pub const COMPLETION_BYTES: usize = 1024;
/// How far an event's time may be ahead of its receipt.
pub const MAX_AHEAD_MS: i64 = 5 * 60 * 1000;

impl Reject {
    pub(crate) fn json(error: JsonError) -> Reject {
        match error {
            JsonError::Syntax(what, at) => Reject { code: "invalid_json", message: format!("{what} at byte {at}") },
            JsonError::TooDeep => Reject { code: "too_deep", message: format!("more than {MAX_DEPTH} levels deep") },
        }
    }
    pub(crate) fn utf8(at: usize) -> Reject {
        Reject { code: "invalid_utf8", message: format!("not UTF-8 at byte {at}") }
    }
    pub(crate) fn size(bytes: usize) -> Reject {
        Reject { code: "too_large", message: format!("{bytes} bytes, at most {MAX_EVENT_BYTES} are taken") }
    }
    pub(crate) fn missing(field: &str) -> Reject {
        Reject { code: "missing_field", message: format!("{field} is missing") }
    }
    pub(crate) fn field(field: &str, must: &str) -> Reject {
        Reject { code: "invalid_field", message: format!("{field} must be {must}") }
    }
    /// The event's record in quarantine: taking it up ended the process again and again.
    pub fn quarantined() -> Reject {
        let message = "taking it up ended the process again and again: it is left out".into();
        Reject { code: "quarantined", message }
    }
    /// Is it [`Reject::quarantined`]?
    pub fn is_quarantined(&self) -> bool {
        self.code == "quarantined"
    }
    pub(crate) fn undecodable() -> Reject {
        Reject { code: "undecodable", message: "reading it failed inside the program: please report it".into() }
    }
    pub(crate) fn future(ahead_ms: i64) -> Reject {
        let (ahead, most) = (ahead_ms / 1000, MAX_AHEAD_MS / 1000);
        Reject {
            code: "time_in_future",
            message: format!("time is {ahead} s after receipt, at most {most} s are taken"),
        }
    }
}
