//! What flows: the native event decoded into numbers and spans of text, and batches of it.
//!
//! In the order in which data pass: [`json`] reads text, [`fields`] puts values in their places, [`mod@decode`] checks them
//! and makes an [`Event`], with [`money`], [`time`] and [`settings`]; [`mod@admit`] is the gateway's side, with [`mask`],
//! behind [`mod@cover`] where values are to be covered;
//! [`reject`] says why something is not taken up.
//! Text stays with the batch on its home worker; only ids and numbers are exchanged.
//! Deliberately absent: state, rules, I/O.

pub mod admit;
pub mod cover;
pub mod decode;
pub mod enriched;
pub mod event;
pub mod fields;
pub mod json;
pub mod mask;
pub mod money;
pub mod reject;
pub mod scored;
pub mod settings;
pub mod time;

pub use admit::{Admitted, admit, admit_line};
pub use decode::{decode, entity_key};
pub use event::*;
pub use settings::{DecodeConfig, Settings, SettingsError};
