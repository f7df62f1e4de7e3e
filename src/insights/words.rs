//! The sentences of an insight.

use super::{Evidence, Insight, Style};
use jiff::Timestamp;
use pulse_operators::series::key::{METRICS, Metric};

fn metric(name: &str) -> Option<Metric> {
    METRICS.into_iter().find(|metric| metric.name() == name)
}

/// Is it a sum of money?
pub fn is_amount(name: &str) -> bool {
    metric(name).is_some_and(Metric::is_money)
}

/// What people call it.
fn noun(name: &str) -> &str {
    match metric(name) {
        Some(Metric::Orders) => "Orders",
        Some(Metric::Revenue) => "Revenue",
        Some(Metric::PaymentsAttempted) => "Payment attempts",
        Some(Metric::PaymentsAuthorized) => "Authorized payments",
        Some(Metric::PaymentsFailed) => "Failed payments",
        Some(Metric::Refunds) => "Refunds",
        Some(Metric::RefundAmount) => "Refunded amounts",
        Some(Metric::Views) => "Views",
        _ => name,
    }
}

/// A number as people read it: whole above 20, with one digit below; amounts with their currency.
pub fn number(value: f64, metric: &str, style: &Style) -> String {
    let digits = if value.abs() < 20.0 && value.fract() != 0.0 { 1 } else { 0 };
    let text = format!("{value:.digits$}");
    let text = if text == "-0" { "0".into() } else { text };
    if is_amount(metric) { format!("{text} {}", style.currency) } else { text }
}

fn signed(value: f64, metric: &str, style: &Style) -> String {
    let sign = if value < 0.0 { "−" } else { "+" };
    format!("{sign}{}", number(value.abs(), metric, style))
}

/// `Mon 23 Nov 14:00`; the time alone on the same day as `beside_ms`.
fn clock(ms: i64, beside_ms: Option<i64>, style: &Style) -> String {
    let at = |ms| Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(style.zone.clone());
    let (time, same) = (at(ms), beside_ms.is_some_and(|beside_ms| at(beside_ms).date() == at(ms).date()));
    time.strftime(if same { "%H:%M" } else { "%a %-d %b %H:%M" }).to_string()
}

/// `Orders fell by 34 %: 412 in place of 624, since Mon 23 Nov 14:00.`
pub fn headline(insight: &Insight, style: &Style) -> String {
    let Some(whole) = insight.evidence.first() else { return String::new() };
    let number = |value| number(value, &whole.metric, style);
    let verb = if insight.direction == "up" { "rose" } else { "fell" };
    let share = if whole.usual.abs() < 1.0 {
        String::new()
    } else {
        format!(" by {:.0} %", (whole.change / whole.usual * 100.0).abs())
    };
    let since = if insight.lasts {
        format!("since {}", clock(insight.from_ms, None, style))
    } else {
        let end = clock(insight.to_ms, Some(insight.from_ms), style);
        format!("from {} to {end}", clock(insight.from_ms, None, style))
    };
    let (value, usual) = (number(whole.value), number(whole.usual));
    format!("{} {verb}{share}: {value} in place of {usual}, {since}.", noun(&whole.metric))
}

/// `Of −212 are country DE −180, country AT −20, the rest −12.`
pub fn place(insight: &Insight, style: &Style) -> String {
    let [whole, segments @ ..] = insight.evidence.as_slice() else { return String::new() };
    if segments.is_empty() {
        return String::new();
    }
    let part = |e: &Evidence| {
        let (name, value) = e.dimensions.split_once('=').unwrap_or((&e.dimensions, ""));
        let (name, change) = (name.replace('_', " "), signed(e.change, &whole.metric, style));
        if value == "*" { format!("the rest {change}") } else { format!("{name} {value} {change}") }
    };
    let parts: Vec<String> = segments.iter().map(part).collect();
    format!("Of {} are {}.", signed(whole.change, &whole.metric, style), parts.join(", "))
}
