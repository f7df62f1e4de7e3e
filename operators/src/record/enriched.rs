//! The enriched event as JSON: the event as it came, with one more member `enriched` of what was looked up and worked out.
//!
//! For readers of the log behind the product; nothing here reads it. Deliberately absent: scores and features, which are in
//! the scored event.

use super::Item;
use super::scored::{member, number, rfc3339, text};
use crate::batch::Batch;

/// Appends the record of the event in a slot; nothing when the batch keeps no events as they came. Where the event
/// had a member `enriched` of its own, ours stands behind it, and of two readers of JSON take the last.
pub fn enriched(out: &mut Vec<u8>, batch: &Batch, slot: usize) {
    let (Some(event), Some(native)) = (batch.events.get(slot), batch.native(slot)) else { return };
    // it was decoded, so it is an object with members
    let Some(open) = native.trim_ascii_end().strip_suffix(b"}") else { return };
    out.extend_from_slice(open.trim_ascii_end());
    member(out, "enriched");
    out.extend_from_slice(b"{\"received_at\":");
    rfc3339(out, event.received_ms);
    let countries = [
        ("country", event.country),
        ("ip_country", event.ip_country),
        ("billing_country", event.billing_country),
        ("shipping_country", event.shipping_country),
    ];
    for (name, country) in countries {
        member(out, name);
        if country.known() { text(out, country.as_str()) } else { out.extend_from_slice(b"null") }
    }
    member(out, "device");
    text(out, event.device_class.name());
    member(out, "bot");
    out.extend_from_slice(if event.bot { b"true" } else { b"false" });
    member(out, "late");
    out.extend_from_slice(if event.late { b"true" } else { b"false" });
    member(out, "amount");
    number(out, event.amount);
    member(out, "currency");
    text(out, std::str::from_utf8(&batch.context.money().currency).unwrap_or_default());
    member(out, "items");
    out.push(b'[');
    for (i, line) in batch.arena.items(event).iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        item(out, batch, line);
    }
    out.extend_from_slice(b"]}}");
}

fn item(out: &mut Vec<u8>, batch: &Batch, item: &Item) {
    out.extend_from_slice(b"{\"product_id\":");
    text(out, batch.arena.get(item.product_id));
    member(out, "category");
    text(out, batch.arena.get(item.category));
    member(out, "price");
    number(out, item.price);
    member(out, "catalogue_price");
    number(out, item.catalogue_price);
    out.push(b'}');
}
