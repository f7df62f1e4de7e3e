//! The `traceparent` of a request (W3C Trace Context): goes along with the records made of it.
//!
//! One that is not as the standard says is treated as absent, as the standard says too. Deliberately absent: spans of our own.

use axum::http::HeaderMap;
use std::sync::Arc;

/// Version, trace id, parent id, flags, and the three dashes between.
const LENGTH: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

/// What the headers say.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    is_valid(text).then(|| text.into())
}

/// Version 00, which later versions begin with too; ids of zeros mean nothing.
fn is_valid(text: &str) -> bool {
    let hex = |part: &str, n: usize| {
        part.len() == n && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags] = parts[..] else { return false };
    let id = |part: &str, n| hex(part, n) && part.bytes().any(|b| b != b'0');
    text.len() == LENGTH && version == "00" && id(trace, 32) && id(parent, 16) && hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_traceparent_is_absent() {
        assert!(is_valid("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for wrong in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert!(!is_valid(wrong), "{wrong}");
        }
    }
}
