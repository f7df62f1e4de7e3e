//! The gateway's side of decoding: is this JSON an event, and what stands in the log for it.

use super::Reject;

/// An event that may be appended to `events.raw`.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The JSON to append: completed (`id`, `time`), card numbers masked; otherwise the bytes as they came.
    pub body: Vec<u8>,
    /// `id`
    pub id: String,
    /// `source`
    pub source: String,
    /// `type`
    pub type_name: String,
    /// `xxh3_64` of the first present of the contract's partition keys.
    pub key: u64,
    /// Card numbers masked in it.
    pub masked: u32,
}

/// Checks one event (contract 1) as it came over HTTP. `received_ms`: time of receipt; `make_id` is called when `id` is absent.
pub fn admit(json: &[u8], received_ms: i64, make_id: &mut dyn FnMut() -> String) -> Result<Admitted, Reject> {
    let _ = (received_ms, make_id);
    Err(Reject { code: "invalid_json", message: format!("{} bytes", json.len()) })
}
