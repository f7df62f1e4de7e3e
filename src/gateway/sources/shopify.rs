//! Shopify's webhooks.
//!
//! | theirs | native event |
//! |---|---|
//! | `orders/create` | `order.completed` |
//! | `orders/updated`, `orders/edited`, `orders/fulfilled` | `order.updated` |
//! | `orders/paid` | `payment.captured` |
//! | `orders/cancelled`, `orders/delete` | `order.cancelled` |
//! | `refunds/create` | `order.refunded` |
//! | `returns/request` | `return.requested` |
//! | `order_transactions/create` | `payment.authorized`, `payment.captured`, `payment.failed` or `payment.attempted`, by `kind` and `status` |
//! | `checkouts/create`; `carts/create` | `checkout.started`; `cart.added` |
//! | `customers/create` | `account.created` |
//! | others | counted, answered with 200 |
//! | `X-Shopify-Webhook-Id`; `X-Shopify-Triggered-At`, else `updated_at` or `created_at` | `id`; `time` |
//! | `id` of the order or `order_id`; `customer.id`; `email` | `order_id`; `customer_id`; `email_hash` |
//! | `browser_ip`, `client_details.user_agent`; `billing_address.country_code`, `shipping_address.country_code` | `ip`, `user_agent`; `billing_country`, `shipping_country` |
//! | `total_price` (a transaction's or refund's `amount`), `currency`, `total_tax`, `total_discounts`, `total_shipping_price_set` | `amount`, `currency`, `tax`, `discount`, `shipping` |
//! | `discount_codes[0].code`; `payment_gateway_names[0]` or `gateway` | `coupon`; `payment.method` |
//! | `line_items[]`: `product_id`, `title`, `price`, `quantity` | `items[]` |
//!
//! Deliberately absent: names and addresses of people; they are not kept.

use super::envelope::Unusable;
use super::found::{Found, Lacks};
use super::native::Members;
use super::order::{self, Order};
use serde_json::Value;

/// What the headers say.
pub struct Delivery<'h> {
    /// `X-Shopify-Topic`
    pub topic: &'h str,
    /// `X-Shopify-Webhook-Id`, the same in every try.
    pub id: &'h str,
    /// `X-Shopify-Triggered-At`
    pub at: &'h str,
}

/// The native type of a topic.
fn event_type(topic: &str, body: &Value) -> Option<&'static str> {
    Some(match topic {
        "orders/create" => "order.completed",
        "orders/updated" | "orders/edited" | "orders/fulfilled" => "order.updated",
        "orders/paid" => "payment.captured",
        "orders/cancelled" | "orders/delete" => "order.cancelled",
        "refunds/create" => "order.refunded",
        "returns/request" => "return.requested",
        "order_transactions/create" => match (body["status"].as_str(), body["kind"].as_str()) {
            (Some("failure" | "error"), _) => "payment.failed",
            (Some("success"), Some("authorization")) => "payment.authorized",
            (Some("success"), Some("capture" | "sale")) => "payment.captured",
            (_, Some("refund" | "void")) => return None,
            _ => "payment.attempted",
        },
        "checkouts/create" => "checkout.started",
        "carts/create" => "cart.added",
        "customers/create" => "account.created",
        _ => return None,
    })
}

/// Topics that are read at all; the bodies of others are not even looked at.
fn known(topic: &str) -> bool {
    event_type(topic, &Value::Null).is_some()
}

/// Reads one webhook.
pub fn translate<'a>(of: &Delivery, body: &'a str, found: &mut Found<'a>) -> Result<(), Unusable> {
    let ignored = |found: &mut Found<'a>| found.ignored("", "unknown_topic", order::shortened(of.topic));
    if !known(of.topic) {
        ignored(found);
        return Ok(());
    }
    let json: Value = serde_json::from_str(body).map_err(|e| Unusable::Malformed(e.to_string()))?;
    let Some(kind) = event_type(of.topic, &json) else {
        ignored(found);
        return Ok(());
    };
    let text = |value: &Value| order::id(value);
    let times = [of.at, order::str(&json["updated_at"]), order::str(&json["created_at"])];
    let time_ms = times.into_iter().find_map(order::time);
    let is_order = of.topic.starts_with("orders/");
    let order_id = if is_order { text(&json["id"]) } else { text(&json["order_id"]) };
    let customer = if of.topic == "customers/create" { &json["id"] } else { &json["customer"]["id"] };
    let gateway = json["payment_gateway_names"].get(0).unwrap_or(&json["gateway"]);
    let mut payment = Members::default();
    if of.topic == "order_transactions/create" {
        payment.writer().text("id", &text(&json["id"]));
        payment.writer().text("status", order::str(&json["status"]));
        payment.writer().text("decline_code", order::str(&json["error_code"]));
    }
    payment.writer().text("method", order::str(gateway));
    let refunded = || json["transactions"].as_array().and_then(|all| all.first()).map(|one| &one["amount"]);
    let total = refunded().filter(|_| kind == "order.refunded");
    let amount = total.unwrap_or(if json["total_price"].is_null() { &json["amount"] } else { &json["total_price"] });
    let shipping = &json["total_shipping_price_set"]["shop_money"]["amount"];
    let lines = json["line_items"].as_array().map_or(&[][..], Vec::as_slice);
    let items = lines.iter().map(|line| (&line["product_id"], &line["title"], &line["price"], &line["quantity"]));
    let order = Order {
        id: of.id.to_owned(),
        kind,
        order_id,
        customer_id: text(customer),
        email: order::str(&json["email"]),
        ip: order::str(&json["browser_ip"]),
        user_agent: order::str(&json["client_details"]["user_agent"]),
        billing: order::str(&json["billing_address"]["country_code"]),
        shipping_to: order::str(&json["shipping_address"]["country_code"]),
        amount,
        currency: order::str(&json["currency"]),
        tax: &json["total_tax"],
        discount: &json["total_discounts"],
        shipping,
        coupon: order::str(&json["discount_codes"][0]["code"]),
        payment,
        items: items.collect(),
    };
    order.write(body, time_ms, found, Lacks::default());
    Ok(())
}
