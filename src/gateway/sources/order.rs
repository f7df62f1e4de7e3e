//! An order as shop systems tell it, written as a native event: what Shopify and WooCommerce have in common.
//!
//! A shop's webhook is never refused for a clock that is ahead: then the time of receipt counts. Deliberately absent: their names.

use super::found::{Found, Lacks};
use super::native::{Members, Native, country, currency, email_hash, number};
use pulse_operators::record::json::{Text, Token};
use pulse_operators::record::reject::MAX_AHEAD_MS;
use pulse_operators::record::time;
use serde_json::Value;

/// Items of one order that are written: the check looks at 32, and an order of two megabytes is an order too.
const ITEMS_MAX: usize = 100;

/// What is known of it. Empty texts and `null` are absent.
pub struct Order<'v> {
    /// `id` of the event.
    pub id: String,
    /// Its native type.
    pub kind: &'static str,
    /// `order_id`
    pub order_id: String,
    /// `customer_id`
    pub customer_id: String,
    /// Of which the hash is written.
    pub email: &'v str,
    /// `ip`
    pub ip: &'v str,
    /// `user_agent`
    pub user_agent: &'v str,
    /// `billing_country`
    pub billing: &'v str,
    /// `shipping_country`
    pub shipping_to: &'v str,
    /// `amount`
    pub amount: &'v Value,
    /// `currency`
    pub currency: &'v str,
    /// `tax`
    pub tax: &'v Value,
    /// `discount`
    pub discount: &'v Value,
    /// `shipping`
    pub shipping: &'v Value,
    /// `coupon`
    pub coupon: &'v str,
    /// `payment`
    pub payment: Members,
    /// Product, its name, price and quantity.
    pub items: Vec<(&'v Value, &'v Value, &'v Value, &'v Value)>,
}

/// A text; empty when it is none.
pub fn str(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An id, which may be a number; 0 is none.
pub fn id(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.as_u64() != Some(0) => number.to_string(),
        _ => String::new(),
    }
}

/// Milliseconds of RFC 3339.
pub fn time(text: &str) -> Option<i64> {
    time::parse(&Token::Text(Text::plain(text)))
}

/// At most 100 characters of what a stranger wrote.
pub fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

/// A decimal, as a number or as text.
fn decimal(native: &mut Native, name: &str, value: &Value) {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return,
    };
    if let Some(number) = number(&Token::Text(Text::plain(&text))) {
        native.json(name, number.as_bytes());
    }
}

/// A text that can stand where only such texts can.
fn fitting(native: &mut Native, name: &str, text: &str, fits: impl Fn(&Token) -> bool) {
    if fits(&Token::Text(Text::plain(text))) {
        native.text(name, text);
    }
}

/// A word, cut where it is too long.
fn word(native: &mut Native, name: &str, text: &str) {
    native.text(name, &shortened(text));
}

impl Order<'_> {
    /// Writes it; `theirs` is what stood in the body.
    pub fn write<'a>(&self, theirs: &'a str, time_ms: Option<i64>, found: &mut Found<'a>, lacks: Lacks) {
        let latest = crate::engine::now_ms() + MAX_AHEAD_MS;
        let mark = found.mark();
        let mut native = found.begin();
        native.text("id", &self.id);
        native.text("type", self.kind);
        native.text("order_id", &self.order_id);
        native.text("customer_id", &self.customer_id);
        if let Some(hash) = email_hash(&Token::Text(Text::plain(self.email))) {
            native.text("email_hash", &hash);
        }
        word(&mut native, "ip", self.ip);
        native.text("user_agent", self.user_agent);
        fitting(&mut native, "billing_country", self.billing, country);
        fitting(&mut native, "shipping_country", self.shipping_to, country);
        decimal(&mut native, "amount", self.amount);
        fitting(&mut native, "currency", self.currency, currency);
        decimal(&mut native, "tax", self.tax);
        decimal(&mut native, "discount", self.discount);
        decimal(&mut native, "shipping", self.shipping);
        word(&mut native, "coupon", self.coupon);
        native.object("payment", &self.payment);
        self.write_items(&mut native);
        native.end();
        found.event(theirs, mark, time_ms.filter(|time| *time <= latest), None, lacks);
    }
    fn write_items(&self, native: &mut Native) {
        let mut list = Vec::new();
        for (product, name, price, quantity) in self.items.iter().take(ITEMS_MAX) {
            let mut item = Members::default();
            word(&mut item.writer(), "product_id", &id(product));
            word(&mut item.writer(), "name", str(name));
            decimal(&mut item.writer(), "price", price);
            decimal(&mut item.writer(), "quantity", quantity);
            item.append_to(&mut list);
        }
        if let Some(inside) = list.get(1..) {
            native.json("items", &[b"[", inside, b"]"].concat());
        }
        let left_out = self.items.len().saturating_sub(ITEMS_MAX);
        if left_out > 0 {
            native.json("properties", format!("{{\"items_left_out\":{left_out}}}").as_bytes());
        }
    }
}
