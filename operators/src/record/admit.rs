//! The gateway's side of decoding: is this JSON an event, and what stands in the log for it.
//!
//! The body stays as it came but for what is missing (`id`, `time` go in right behind the opening bracket) and for card
//! numbers (masked in every text but ids, times and amounts). What is admitted here is decoded later: both run the same checks.

use super::decode::{DEFAULT_SOURCE, build};
use super::fields::{Fields, Place};
use super::json::{Text, Token};
use super::mask::Cards;
use super::reject::MAX_EVENT_BYTES;
use super::settings::Settings;
use super::{Arena, Reject};
use crate::cause::guarded;
use std::cell::RefCell;
use std::fmt::Write;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

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
    guarded(0, || complete(json, received_ms, Some(received_ms), make_id))
}

/// Checks one line of a file. Without `id` it gets a hash of the line and of `position`, which says where it stands (number
/// of the file and line, say): equal lines at different places are different events. Without `time` it is rejected.
/// `received_ms`: time of the import; `i64::MAX` where the data's own clock counts.
pub fn admit_line(json: &[u8], position: u64, received_ms: i64) -> Result<Admitted, Reject> {
    let line = json.trim_ascii();
    let mut make_id = || format!("{:032x}", xxh3_128_with_seed(line, position));
    guarded(0, || complete(line, received_ms, None, &mut make_id))
}

fn complete(
    json: &[u8],
    received_ms: i64,
    fill_time_ms: Option<i64>,
    make_id: &mut dyn FnMut() -> String,
) -> Result<Admitted, Reject> {
    if json.len() > MAX_EVENT_BYTES {
        return Err(Reject::size(json.len()));
    }
    let mut cards = Cards::default();
    let mut fields = Fields::parse(json, &mut cards)?;
    let mut inserts = Vec::new();
    let (mut made, mut now) = (String::new(), String::new());
    if absent(fields.get(Place::Id)) {
        made = make_id();
        let quoted = serde_json::to_string(&made).map_err(|_| Reject::missing("id"))?;
        insert(&fields, Place::Id, &quoted, &mut inserts);
    }
    if let (true, Some(time_ms)) = (absent(fields.get(Place::Time)), fill_time_ms) {
        let _ = write!(now, "{time_ms}"); // writing to a String cannot fail
        insert(&fields, Place::Time, &now, &mut inserts);
    }
    if !made.is_empty() {
        fields.set(Place::Id, Token::Text(Text::plain(&made)));
    }
    if !now.is_empty() {
        fields.set(Place::Time, Token::Number(&now));
    }
    SCRATCH.with(|scratch| {
        let (settings, arena) = &mut *scratch.borrow_mut();
        arena.text.clear();
        arena.items.clear();
        let event = build(&fields, (0, 0), received_ms, settings, arena)?;
        let untouched = inserts.is_empty() && cards.count == 0;
        Ok(Admitted {
            body: if untouched { json.to_vec() } else { cards.rewrite(json, &inserts) },
            id: arena.get(event.id).to_owned(),
            source: arena.get(event.source).to_owned(),
            type_name: arena.get(event.type_text).to_owned(),
            key: partition_key(&fields),
            masked: cards.count,
        })
    })
}

thread_local! {
    /// Room for the check; its settings have no part in what is accepted.
    static SCRATCH: RefCell<(Settings, Arena)> = RefCell::default();
}

fn absent(token: Token<'_>) -> bool {
    matches!(token, Token::Absent | Token::Null(_))
}

/// Where a missing field goes: in place of its `null`, else first in the object.
fn insert(fields: &Fields<'_>, place: Place, value: &str, inserts: &mut Vec<(usize, String, usize)>) {
    if let Token::Null(at) = fields.get(place) {
        inserts.push((at as usize, value.to_owned(), "null".len()));
        return;
    }
    let more = !fields.empty || inserts.iter().any(|insert| insert.0 == fields.inside);
    let comma = if more { "," } else { "" };
    inserts.insert(0, (fields.inside, format!("\"{}\":{value}{comma}", place.name()), 0));
}

/// The contract's partition key: the same text goes to the same partition, whatever kind of id it is.
fn partition_key(fields: &Fields<'_>) -> u64 {
    use Place::*;
    let mut places = [Customer, Email, Device, Session, PaymentCard, Ip, Id].into_iter();
    let text = places.find_map(|place| match fields.get(place) {
        Token::Text(text) if !text.raw.is_empty() => Some(text.value()),
        _ => None,
    });
    xxh3_64(text.as_deref().unwrap_or(DEFAULT_SOURCE).as_bytes())
}
