//! What flows: the native event decoded into numbers and spans of text, and batches of it.
//!
//! Text stays with the batch on its home worker; only ids and numbers are exchanged.
//! Deliberately absent: state, rules, I/O.

pub mod admit;
pub mod event;
pub mod scored;

pub use event::*;
