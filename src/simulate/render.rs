//! Planned events as JSON (contract of the native event), written by hand into a reused buffer.
//!
//! Nothing needs escaping: all text is the simulator's own. Deliberately absent: serde, for speed; a test reads every kind
//! of line back with it.

use super::agenda::{Act, Line, Order, PayStatus, Payment, Planned, Who};
use super::people::Method;
use super::words::{AGENTS, CATEGORIES, COUPON_GUESSED, COUPONS, DECLINES, SEARCHES};
use super::{config::DAY_MS, geo};

/// Appends a whole number.
pub(super) fn push_number(out: &mut String, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut used = 0;
    loop {
        digits[used] = b'0' + (number % 10) as u8;
        used += 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend(digits[..used].iter().rev().map(|&digit| digit as char));
}

/// Appends a whole number with leading zeros.
fn push_padded(out: &mut String, number: u64, width: u32) {
    let mut unit = 10u64.pow(width - 1);
    while unit > 0 {
        out.push((b'0' + (number / unit % 10) as u8) as char);
        unit /= 10;
    }
}

/// Appends minor units as a decimal in major ones.
fn push_money(out: &mut String, minor: i64) {
    if minor < 0 {
        out.push('-');
    }
    let minor = minor.unsigned_abs();
    push_number(out, minor / 100);
    out.push('.');
    push_padded(out, minor % 100, 2);
}

/// Appends the low 48 bits as twelve hex digits: too short to be taken for a card number.
fn push_hex(out: &mut String, number: u64) {
    for place in (0..12).rev() {
        out.push(char::from_digit((number >> (4 * place)) as u32 & 15, 16).unwrap_or('0'));
    }
}

/// Appends a time as RFC 3339 in UTC with milliseconds. Years 0 to 9999; earlier and later ones are cut to that.
pub(super) fn push_time(out: &mut String, time_ms: i64) {
    let days = time_ms.div_euclid(DAY_MS);
    let of_day = time_ms.rem_euclid(DAY_MS) as u64;
    // Civil date from days, after Howard Hinnant's algorithm: eras of 400 years from March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = (year_of_era + era * 400 + i64::from(month <= 2)).clamp(0, 9999);
    push_padded(out, year as u64, 4);
    out.push('-');
    push_padded(out, month as u64, 2);
    out.push('-');
    push_padded(out, day as u64, 2);
    out.push('T');
    push_padded(out, of_day / 3_600_000, 2);
    out.push(':');
    push_padded(out, of_day / 60_000 % 60, 2);
    out.push(':');
    push_padded(out, of_day / 1000 % 60, 2);
    out.push('.');
    push_padded(out, of_day % 1000, 3);
    out.push('Z');
}

/// Appends the id of the n-th event of a run.
pub(super) fn push_id(out: &mut String, run: u64, number: u64) {
    out.push_str("e-");
    push_run(out, run, number);
}

/// Appends eight hex digits of the run and a number, with a letter between, so that no run of digits gets long.
fn push_run(out: &mut String, run: u64, number: u64) {
    for place in (0..8).rev() {
        out.push(char::from_digit((run >> (4 * place)) as u32 & 15, 16).unwrap_or('0'));
    }
    out.push('n');
    push_number(out, number);
}

/// The `type` of an event.
pub(super) fn type_name(act: &Act) -> &'static str {
    match act {
        Act::View(_) => "product.viewed",
        Act::Click(_) => "product.clicked",
        Act::Search { .. } => "search.performed",
        Act::CartAdd(_) => "cart.added",
        Act::CartRemove(_) => "cart.removed",
        Act::Checkout(_) => "checkout.started",
        Act::CouponApplied { .. } => "coupon.applied",
        Act::CouponDenied { .. } => "coupon.denied",
        Act::Pay { status: PayStatus::Attempted, .. } => "payment.attempted",
        Act::Pay { status: PayStatus::Authorized, .. } => "payment.authorized",
        Act::Pay { status: PayStatus::Failed(_), .. } => "payment.failed",
        Act::Pay { status: PayStatus::Captured, .. } => "payment.captured",
        Act::Completed { .. } => "order.completed",
        Act::Updated { .. } => "order.updated",
        Act::Cancelled { .. } => "order.cancelled",
        Act::ReturnRequested { .. } => "return.requested",
        Act::Refunded { .. } => "order.refunded",
        Act::AccountCreated => "account.created",
        Act::Login => "account.login",
        Act::LoginFailed => "account.login_failed",
    }
}

/// Appends `,"name":"value"`.
fn text(out: &mut String, name: &str, value: &str) {
    for part in [",\"", name, "\":\"", value, "\""] {
        out.push_str(part);
    }
}

/// Appends `,"name":12.34`.
fn money(out: &mut String, name: &str, minor: i64) {
    for part in [",\"", name, "\":"] {
        out.push_str(part);
    }
    push_money(out, minor);
}

/// Appends `,"name":"prefix` and leaves the text open.
fn open(out: &mut String, name: &str, prefix: &str) {
    for part in [",\"", name, "\":\"", prefix] {
        out.push_str(part);
    }
}

/// What all events of a run share.
pub(super) struct Renderer {
    /// Tells this run's ids from those of other runs.
    pub run: u64,
    /// ISO 4217.
    pub currency: String,
}

impl Renderer {
    /// Appends one event as a JSON object, without a line end.
    pub fn event(&self, out: &mut String, number: u64, planned: &Planned) {
        out.push_str("{\"id\":\"");
        push_id(out, self.run, number);
        out.push('"');
        text(out, "type", type_name(&planned.act));
        open(out, "time", "");
        push_time(out, planned.time_ms);
        out.push('"');
        self.who(out, &planned.who);
        self.act(out, &planned.who, &planned.act);
        out.push('}');
    }

    fn who(&self, out: &mut String, who: &Who) {
        text(out, "source", who.source.name());
        if who.customer != 0 {
            open(out, "customer_id", "c-");
            push_number(out, who.customer);
            out.push('"');
        }
        if who.email != 0 {
            open(out, "email_hash", "");
            push_hex(out, who.email);
            // A letter between the halves, so that no run of digits is long enough for a card number.
            out.push('e');
            push_hex(out, who.email.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16);
            out.push('"');
        }
        for (name, prefix, value) in [("session_id", "s-", who.session), ("device_id", "d-", who.device)] {
            if value != 0 {
                open(out, name, prefix);
                push_hex(out, value);
                out.push('"');
            }
        }
        if who.ip != 0 {
            open(out, "ip", "");
            for (place, byte) in who.ip.to_be_bytes().into_iter().enumerate() {
                if place > 0 {
                    out.push('.');
                }
                push_number(out, u64::from(byte));
            }
            out.push('"');
            if let Some(agent) = AGENTS.get(usize::from(who.agent)) {
                text(out, "user_agent", agent);
            }
        }
        // A crawler has no shop front: its country is that of its address.
        if who.country != geo::UNKNOWN {
            text(out, "country", geo::country(who.country).code);
        }
        if who.terminal != 0 {
            out.push_str(",\"entities\":{\"terminal\":\"t-");
            push_number(out, u64::from(who.terminal));
            out.push_str("\"}");
        }
    }

    fn act(&self, out: &mut String, who: &Who, act: &Act) {
        match act {
            Act::View(line) | Act::Click(line) | Act::CartAdd(line) | Act::CartRemove(line) => {
                text(out, "currency", &self.currency);
                items(out, std::slice::from_ref(line));
            }
            Act::Search { word, results } => {
                out.push_str(",\"properties\":{\"query\":\"");
                out.push_str(SEARCHES.get(usize::from(*word)).copied().unwrap_or("new"));
                out.push_str("\",\"results\":");
                push_number(out, u64::from(*results));
                out.push('}');
            }
            Act::Checkout(order) | Act::Updated { order } | Act::Cancelled { order } => {
                self.order(out, who, order);
                items(out, &order.lines);
            }
            Act::CouponApplied { code, discount_minor } => {
                coupon(out, *code, 0);
                money(out, "discount", *discount_minor);
                text(out, "currency", &self.currency);
            }
            Act::CouponDenied { code, guess } => coupon(out, *code, *guess),
            Act::Pay { order, payment, status } => {
                self.order_key(out, order);
                money(out, "amount", order.amount_minor);
                text(out, "currency", &self.currency);
                countries(out, who);
                self.payment(out, payment, *status);
            }
            Act::Completed { order, payment } => {
                self.order(out, who, order);
                self.payment(out, payment, PayStatus::Authorized);
                items(out, &order.lines);
                if order.basket_age_s > 0.0 {
                    out.push_str(",\"signals\":{\"basket_age_s\":");
                    push_number(out, order.basket_age_s as u64);
                    out.push('}');
                }
            }
            Act::ReturnRequested { order, amount_minor } | Act::Refunded { order, amount_minor } => {
                self.order_key(out, order);
                money(out, "amount", *amount_minor);
                text(out, "currency", &self.currency);
            }
            Act::AccountCreated | Act::Login | Act::LoginFailed => {}
        }
    }

    fn order_key(&self, out: &mut String, order: &Order) {
        open(out, "order_id", "");
        push_number(out, 1000 + self.run % 9000);
        out.push('-');
        push_number(out, order.number);
        out.push('"');
    }

    fn order(&self, out: &mut String, who: &Who, order: &Order) {
        self.order_key(out, order);
        money(out, "amount", order.amount_minor);
        text(out, "currency", &self.currency);
        money(out, "shipping", order.shipping_minor);
        money(out, "tax", order.tax_minor);
        money(out, "discount", order.discount_minor);
        if let Some(code) = order.coupon {
            coupon(out, code, 0);
        }
        countries(out, who);
    }

    fn payment(&self, out: &mut String, payment: &Payment, status: PayStatus) {
        out.push_str(",\"payment\":{\"id\":\"pi_");
        push_run(out, self.run, payment.number);
        out.push('"');
        text(out, "method", payment.method.name());
        if payment.method == Method::Card && payment.card != 0 {
            open(out, "card", "fp_");
            push_hex(out, payment.card);
            out.push('"');
            open(out, "bin", "");
            push_number(out, u64::from(geo::bin(payment.card_country, payment.card)));
            out.push('"');
        }
        let (status, decline) = match status {
            PayStatus::Attempted => ("attempted", None),
            PayStatus::Authorized => ("authorized", None),
            PayStatus::Captured => ("captured", None),
            PayStatus::Failed(code) => ("failed", DECLINES.get(usize::from(code))),
        };
        text(out, "status", status);
        if let Some(code) = decline {
            text(out, "decline_code", code);
        }
        out.push('}');
    }
}

fn countries(out: &mut String, who: &Who) {
    text(out, "billing_country", geo::country(who.country).code);
    text(out, "shipping_country", geo::country(who.ship_to).code);
}

fn coupon(out: &mut String, code: u8, guess: u32) {
    if code == COUPON_GUESSED {
        open(out, "coupon", "SAVE");
        push_number(out, u64::from(guess));
        out.push('"');
    } else if let Some((name, _)) = COUPONS.get(usize::from(code)) {
        text(out, "coupon", name);
    }
}

fn items(out: &mut String, lines: &[Line]) {
    out.push_str(",\"items\":[");
    for (place, line) in lines.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        out.push_str("{\"product_id\":\"p-");
        push_number(out, u64::from(line.product));
        out.push('"');
        text(out, "category", CATEGORIES.get(usize::from(line.category)).map_or("other", |category| category.0));
        out.push_str(",\"quantity\":");
        push_number(out, u64::from(line.quantity));
        money(out, "price", line.price_minor);
        out.push('}');
    }
    out.push(']');
}
