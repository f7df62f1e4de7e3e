//! Stripe's webhooks.
//!
//! | theirs | native event |
//! |---|---|
//! | `payment_intent.created` | `payment.attempted` |
//! | `payment_intent.amount_capturable_updated` | `payment.authorized` |
//! | `payment_intent.succeeded`, `charge.captured` | `payment.captured` |
//! | `charge.succeeded` | `payment.captured`, or `payment.authorized` while `captured` is false |
//! | `payment_intent.payment_failed`, `charge.failed` | `payment.failed` |
//! | `charge.refunded` | `order.refunded` |
//! | `checkout.session.completed` | `order.completed` |
//! | `customer.created` | `account.created` |
//! | `charge.dispute.created`, `radar.early_fraud_warning.created` | a verdict on the payment: `true_positive`, `origin` `chargeback` or `early_fraud_warning` |
//! | `charge.dispute.closed` with `status` `won` | the same, `withdrawn` |
//! | others | counted, answered with 200 |
//! | `id`, `created` | `id`, `time` |
//! | `amount`, `amount_total`, `amount_refunded` in minor units, `currency` | `amount`, `currency` |
//! | `customer`, `receipt_email` or `billing_details.email` | `customer_id`, `email_hash` |
//! | `metadata.order_id` or `client_reference_id` | `order_id` |
//! | the payment intent, `payment_method_details.card` or that of `last_payment_error` | `payment.id`, `payment.card` (fingerprint), `payment.method` |
//! | `last_payment_error.decline_code` or `failure_code` | `payment.decline_code` |
//! | `billing_details.address.country`, `shipping.address.country` | `billing_country`, `shipping_country` |
//!
//! Subscribe to `payment_intent.*` or to `charge.*`, not to both: both tell of the same payment.

use super::envelope::Unusable;
use super::found::{Found, Lacks};
use super::native::{Members, NAME_CHARS, email_hash};
use pulse_operators::record::json::{Text, Token};
use serde_json::Value;

/// Currencies that Stripe writes without minor units, whatever ISO 4217 says.
const NO_DECIMALS: [&str; 15] =
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"];
/// Currencies with three decimals.
const THREE_DECIMALS: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];

/// The native type of a topic.
fn event_type(topic: &str, object: &Value) -> Option<&'static str> {
    Some(match topic {
        "payment_intent.created" => "payment.attempted",
        "payment_intent.amount_capturable_updated" => "payment.authorized",
        "payment_intent.succeeded" | "charge.captured" => "payment.captured",
        "charge.succeeded" if object["captured"] == false => "payment.authorized",
        "charge.succeeded" => "payment.captured",
        "payment_intent.payment_failed" | "charge.failed" => "payment.failed",
        "charge.refunded" => "order.refunded",
        "checkout.session.completed" => "order.completed",
        "customer.created" => "account.created",
        _ => return None,
    })
}

/// Reads one webhook.
pub fn translate<'a>(body: &'a str, found: &mut Found<'a>) -> Result<(), Unusable> {
    let event: Value = serde_json::from_str(body).map_err(|e| Unusable::Malformed(e.to_string()))?;
    let (Some(id), Some(topic)) = (event["id"].as_str(), event["type"].as_str()) else {
        return Err(Unusable::Malformed("id and type must be text".into()));
    };
    let object = &event["data"]["object"];
    if let Some(record) = verdict(topic, object, event["created"].as_i64()) {
        found.verdict(body, record);
        return Ok(());
    }
    let Some(kind) = event_type(topic, object) else {
        found.ignored(body, "unknown_topic", topic.chars().take(100).collect::<String>());
        return Ok(());
    };
    let time_ms = event["created"].as_i64().map(|s| s.saturating_mul(1_000));
    let mark = found.mark();
    let mut native = found.begin();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    native.text("id", id);
    native.text("type", kind);
    let customer = if topic == "customer.created" { &object["id"] } else { &object["customer"] };
    native.text("customer_id", &text(customer));
    let email = [&object["receipt_email"], &object["billing_details"]["email"], &object["customer_details"]["email"]]
        .into_iter()
        .chain([&object["email"]])
        .find_map(Value::as_str);
    if let Some(hash) = email.and_then(|email| email_hash(&Token::Text(Text::plain(email)))) {
        native.text("email_hash", &hash);
    }
    let order = object["metadata"]["order_id"].as_str().or(object["client_reference_id"].as_str());
    native.text("order_id", order.unwrap_or_default());
    let currency = object["currency"].as_str().unwrap_or_default();
    let minor = match kind {
        "order.refunded" => &object["amount_refunded"],
        "order.completed" => &object["amount_total"],
        _ => &object["amount"],
    };
    if let Some(amount) = minor.as_i64().map(|minor| major(minor, currency)) {
        native.json("amount", amount.as_bytes());
    }
    native.text("currency", currency);
    let address = [&object["billing_details"], &object["customer_details"]];
    let billing = address.into_iter().find_map(|of| of["address"]["country"].as_str());
    native.text("billing_country", billing.unwrap_or_default());
    native.text("shipping_country", &text(&object["shipping"]["address"]["country"]));
    native.object("payment", &payment(topic, object));
    native.end();
    found.event(body, mark, time_ms, None, Lacks::default());
    Ok(())
}

/// What a dispute says about its payment.
fn verdict(topic: &str, object: &Value, created_s: Option<i64>) -> Option<Vec<u8>> {
    let (verdict, origin) = match topic {
        "charge.dispute.created" => ("true_positive", "chargeback"),
        "charge.dispute.closed" if object["status"] == "won" => ("withdrawn", "chargeback"),
        "radar.early_fraud_warning.created" => ("true_positive", "early_fraud_warning"),
        _ => return None,
    };
    let payment = object["payment_intent"].as_str().or(object["charge"].as_str())?;
    let payment = Some(payment).filter(|id| !id.is_empty() && id.len() <= NAME_CHARS)?;
    let reason = object["reason"].as_str().or(object["fraud_type"].as_str()).unwrap_or_default();
    let now_ms = crate::engine::now_ms();
    let time_ms = created_s.map_or(now_ms, |s| s.saturating_mul(1_000)).min(now_ms);
    let label = serde_json::json!({
        "time": crate::json::rfc3339(time_ms), "payment_id": payment, "verdict": verdict, "origin": origin, "by": "stripe",
        "reason": reason.chars().take(NAME_CHARS).collect::<String>(), "entities": [],
    });
    serde_json::to_vec(&label).ok()
}

fn payment(topic: &str, object: &Value) -> Members {
    let mut members = Members::default();
    let mut payment = members.writer();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let intent = topic.starts_with("payment_intent.").then(|| object["id"].as_str());
    let id = intent.flatten().or(object["payment_intent"].as_str()).or(object["id"].as_str());
    payment.text("id", id.filter(|_| !topic.starts_with("customer.")).unwrap_or_default());
    let failed = &object["last_payment_error"];
    let details = [&object["payment_method_details"], &failed["payment_method"]];
    let details = details.into_iter().find(|d| d.is_object()).unwrap_or(&Value::Null);
    payment.text("method", &text(&details["type"]));
    payment.text("card", &text(&details["card"]["fingerprint"]));
    payment.text("status", &text(&object["status"]));
    let declined = failed["decline_code"].as_str().or(failed["code"].as_str());
    let declined = declined.or(object["outcome"]["reason"].as_str()).or(object["failure_code"].as_str());
    payment.text("decline_code", declined.unwrap_or_default());
    members
}

/// Minor units as Stripe counts them, as a decimal number.
fn major(minor: i64, currency: &str) -> String {
    let decimals = match currency {
        c if NO_DECIMALS.contains(&c) => 0,
        c if THREE_DECIMALS.contains(&c) => 3,
        _ => 2,
    };
    let (sign, digits) = (if minor < 0 { "-" } else { "" }, minor.unsigned_abs());
    let unit = 10_u64.pow(decimals);
    match decimals {
        0 => format!("{sign}{digits}"),
        _ => format!("{sign}{}.{:0width$}", digits / unit, digits % unit, width = decimals as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_decimals_that_stripe_gives_them() {
        let amounts = [major(12990, "eur"), major(5, "usd"), major(500, "jpy"), major(1234, "kwd"), major(-150, "eur")];
        assert_eq!(amounts, ["129.90", "0.05", "500", "1.234", "-1.50"]);
    }
}
