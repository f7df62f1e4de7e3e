//! WooCommerce's webhooks.
//!
//! | theirs | native event |
//! |---|---|
//! | `order.created` | `order.completed`; `payment.failed` while its status is `failed` |
//! | `order.updated`, `order.restored` | by status: `order.cancelled`, `order.refunded`, `payment.failed`, else `order.updated` |
//! | `order.deleted` | `order.cancelled` |
//! | `customer.created` | `account.created` |
//! | others | counted, answered with 200 |
//! | topic, `id` and `date_modified_gmt` | `id`: the same change that is told twice counts once |
//! | `date_modified_gmt`, else `date_created_gmt` | `time` |
//! | `id` or `number`; `customer_id`, unless it is 0; `billing.email` | `order_id`; `customer_id`; `email_hash` |
//! | `customer_ip_address`, `customer_user_agent`; `billing.country`, `shipping.country` | `ip`, `user_agent`; `billing_country`, `shipping_country` |
//! | `total`, `currency`, `total_tax`, `discount_total`, `shipping_total` | `amount`, `currency`, `tax`, `discount`, `shipping` |
//! | `coupon_lines[0].code`; `payment_method`, `transaction_id` | `coupon`; `payment.method`, `payment.id` |
//! | `line_items[]`: `product_id`, `name`, `price`, `quantity` | `items[]` |
//!
//! When a webhook is saved, the shop sends `webhook_id=N` to see whether anybody answers: that is answered, signed or not.
//! Deliberately absent: names and addresses of people; they are not kept.

use super::envelope::Unusable;
use super::found::{Found, Lacks};
use super::native::Members;
use super::order::{self, Order};
use serde_json::Value;

/// Is it the shop's question whether anybody is there?
pub fn is_ping(body: &[u8]) -> bool {
    body.strip_prefix(b"webhook_id=").is_some_and(|id| id.len() < 20 && id.iter().all(u8::is_ascii_digit))
}

/// The native type of a topic.
fn event_type(topic: &str, status: &str) -> Option<&'static str> {
    Some(match (topic, status) {
        ("order.created" | "order.updated" | "order.restored", "failed") => "payment.failed",
        ("order.created", _) => "order.completed",
        ("order.updated" | "order.restored", "cancelled") => "order.cancelled",
        ("order.updated" | "order.restored", "refunded") => "order.refunded",
        ("order.updated" | "order.restored", _) => "order.updated",
        ("order.deleted", _) => "order.cancelled",
        ("customer.created", _) => "account.created",
        _ => return None,
    })
}

/// Reads one webhook. `topic`: what `X-WC-Webhook-Topic` says.
pub fn translate<'a>(topic: &str, body: &'a str, found: &mut Found<'a>) -> Result<(), Unusable> {
    if event_type(topic, "").is_none() {
        found.ignored("", "unknown_topic", order::shortened(topic));
        return Ok(());
    }
    let json: Value = serde_json::from_str(body).map_err(|e| Unusable::Malformed(e.to_string()))?;
    let status = order::str(&json["status"]);
    let Some(kind) = event_type(topic, status) else { return Ok(()) };
    let id = order::id(&json["id"]);
    if id.is_empty() {
        return Err(Unusable::Malformed("id is missing".into()));
    }
    let changed = [&json["date_modified_gmt"], &json["date_created_gmt"]].map(order::str);
    let changed = changed.into_iter().find(|at| !at.is_empty()).unwrap_or_default();
    let is_order = topic.starts_with("order.");
    let customer = if is_order { &json["customer_id"] } else { &json["id"] };
    let mut payment = Members::default();
    payment.writer().text("id", order::str(&json["transaction_id"]));
    payment.writer().text("method", order::str(&json["payment_method"]));
    payment.writer().text("status", if is_order { status } else { "" });
    let lines = json["line_items"].as_array().map_or(&[][..], Vec::as_slice);
    let items = lines.iter().map(|line| (&line["product_id"], &line["name"], &line["price"], &line["quantity"]));
    let email = if is_order { &json["billing"]["email"] } else { &json["email"] };
    let order = Order {
        id: format!("{topic}:{id}:{changed}"),
        kind,
        order_id: if is_order { id } else { String::new() },
        customer_id: order::id(customer),
        email: order::str(email),
        ip: order::str(&json["customer_ip_address"]),
        user_agent: order::str(&json["customer_user_agent"]),
        billing: order::str(&json["billing"]["country"]),
        shipping_to: order::str(&json["shipping"]["country"]),
        amount: &json["total"],
        currency: order::str(&json["currency"]),
        tax: &json["total_tax"],
        discount: &json["discount_total"],
        shipping: &json["shipping_total"],
        coupon: order::str(&json["coupon_lines"][0]["code"]),
        payment,
        items: items.collect(),
    };
    // their times are UTC and do not say so
    let time_ms = order::time(&format!("{changed}Z")).or_else(|| order::time(changed));
    order.write(body, time_ms, found, Lacks::default());
    Ok(())
}
