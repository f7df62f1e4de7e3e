//! Numbers, times and amounts as people read them. All times are UTC, as in the API.

use crate::json::rfc3339;
use maud::{Markup, html};

/// A number with no more digits than people read, thousands apart.
pub fn number(value: f64) -> String {
    let value = if value == 0.0 { 0.0 } else { value };
    if !value.is_finite() {
        return "–".into();
    }
    let digits = match value.abs() {
        size if value.fract() == 0.0 || size >= 1_000.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.01 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, part) = text.split_once('.').map_or((text.as_str(), ""), |(whole, part)| (whole, part));
    let part = part.trim_end_matches('0');
    let whole = apart(whole);
    if part.is_empty() { whole } else { format!("{whole}.{part}") }
}

/// A count.
pub fn count(n: u64) -> String {
    apart(&n.to_string())
}

/// Thin spaces between thousands, from five digits on.
fn apart(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    if digits.len() < 5 {
        return format!("{sign}{digits}");
    }
    let mut text = String::from(sign);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push('\u{202f}');
        }
        text.push(c);
    }
    text
}

/// `1 alert`, `2 alerts`.
pub fn many(n: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { more })
}

/// A length of time.
pub fn span(ms: i64) -> String {
    let ms = ms.max(0);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{:.1} s", ms as f64 / 1e3),
        10_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}

/// Seconds as milliseconds, three digits.
pub fn milliseconds(seconds: f64) -> String {
    let ms = seconds * 1e3;
    if ms >= 100.0 {
        format!("{ms:.0}")
    } else if ms >= 10.0 {
        format!("{ms:.1}")
    } else {
        format!("{ms:.2}")
    }
}

fn strftime(ms: i64, format: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).map(|time| time.strftime(format).to_string());
    time.unwrap_or_default()
}

/// A moment: the time of day, with the day unless it is today. The whole of it stands in the tooltip.
pub fn moment(ms: i64, now_ms: i64) -> Markup {
    let today = ms.div_euclid(86_400_000) == now_ms.div_euclid(86_400_000);
    let text = strftime(ms, if today { "%H:%M:%S" } else { "%-d %b %H:%M" });
    html! { time datetime=(rfc3339(ms)) title=(rfc3339(ms)) { (text) } }
}

/// Hours and minutes, for the edges of charts.
pub fn clock(ms: i64) -> String {
    strftime(ms, "%H:%M")
}

/// An amount in major units.
pub fn amount(minor: i64, currency: &str) -> String {
    let exponent = iso_currency::Currency::from_code(currency).and_then(|c| c.exponent()).unwrap_or(2);
    let value = minor as f64 / 10f64.powi(i32::from(exponent));
    format!("{value:.*} {currency}", usize::from(exponent))
}

/// How bad.
pub fn severity(name: &str) -> Markup {
    let class = match name {
        "critical" => "badge bad",
        "warning" => "badge warn",
        _ => "badge",
    };
    html! { span class=(class) { (name) } }
}

/// A verdict in words.
pub fn verdict(name: &str) -> &str {
    match name {
        "true_positive" => "trouble",
        "false_positive" => "false alarm",
        "expected" => "unusual but fine",
        "duplicate" => "duplicate",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_people_read() {
        let numbers = [0.0, -0.0, 3.0, 0.126, 12.34, 1234.5, 12345.6, -1234567.0, 0.0001, f64::NAN].map(number);
        let wanted =
            ["0", "0", "3", "0.13", "12.3", "1234", "12\u{202f}346", "-1\u{202f}234\u{202f}567", "0.0001", "–"];
        assert!(numbers[5] == "1234" || numbers[5] == "1235");
        assert_eq!([&numbers[..5], &numbers[6..]], [&wanted[..5], &wanted[6..]]);
        assert_eq!(many(1, "alert", "alerts") + &many(12_000, " alert", " alerts"), "1 alert12\u{202f}000  alerts");
        assert_eq!(amount(12_990, "EUR") + &amount(1_299, "JPY"), "129.90 EUR1299 JPY");
        assert_eq!(
            [5, 1_500, 59_000, 180_000, 8_000_000, 200_000_000].map(span),
            ["5 ms", "1.5 s", "59 s", "3 min", "2 h", "2 days"]
        );
    }
}
