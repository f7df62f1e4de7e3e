//! The scored event as JSON (contract 3), with the feature row beside it so that a score can be recomputed much later.
//!
//! Written by hand because it is written for every event. Deliberately absent: the decision itself.

use super::{Direction, Event, Lookup, Reason, time};
use crate::batch::{Batch, Score};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use pulse_models::features::{FEATURE_SCHEMA, FEATURES, Row};
use xxhash_rust::xxh3::xxh3_64;

/// One in a million is the top of the scale (contract 3).
pub const TOP: f64 = 6.0;

/// -log10 p on the scale [0, 1], to six decimals: what is written, compared and kept.
pub fn on_scale(surprise: f64) -> f64 {
    ((surprise / TOP).clamp(0.0, 1.0) * 1e6).round() / 1e6
}

/// What was decided about an event.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// `score >= threshold_value`
    pub anomaly: bool,
    /// The threshold of its group.
    pub threshold_value: f64,
    /// Version of the threshold.
    pub threshold: &'a str,
    /// Estimated precision at this score.
    pub confidence: f64,
    /// How bad.
    pub severity: Severity,
}

/// `info | warning | critical`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look.
    Info,
    /// Look today.
    Warning,
    /// Look now.
    Critical,
}
impl Severity {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// Appends a JSON string.
pub fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    let plain = |b: u8| b >= 0x20 && b != b'"' && b != b'\\';
    // without an early end, so that it is many bytes at once
    if value.bytes().fold(true, |all, b| all & plain(b)) {
        out.extend_from_slice(value.as_bytes());
    } else {
        for c in value.chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                c if (c as u32) < 0x20 => out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    out.push(b'"');
}

/// Appends a number, `null` when it is none.
pub fn number(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
    } else if value == value.trunc() && value.abs() < 1e15 {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    }
}

/// Appends a finite binary32 in the fewest digits that tell it from all others.
fn number32(out: &mut Vec<u8>, value: f32) {
    out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
}

pub(super) fn member(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}
fn optional(out: &mut Vec<u8>, name: &str, value: Option<f64>) {
    member(out, name);
    number(out, value.map_or(f64::NAN, on_scale));
}

/// RFC 3339 with milliseconds, UTC; `null` for what is no time.
pub fn rfc3339(out: &mut Vec<u8>, time_ms: i64) {
    match time::civil(time_ms) {
        Some(text) => {
            out.push(b'"');
            out.extend_from_slice(&text);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends the list of reasons.
pub fn reasons(out: &mut Vec<u8>, reasons: &[Reason]) {
    out.push(b'[');
    for (i, r) in reasons.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"{\"code\":" } else { b",{\"code\":" });
        text(out, &r.code);
        member(out, "text");
        text(out, &r.text);
        member(out, "direction");
        text(out, r.direction.name());
        member(out, "value");
        number(out, r.value);
        member(out, "expected");
        out.push(b'[');
        number(out, r.expected[0]);
        out.push(b',');
        number(out, r.expected[1]);
        out.push(b']');
        member(out, "contribution");
        number(out, (r.contribution * 1e4).round() / 1e4);
        out.push(b'}');
    }
    out.push(b']');
}

fn lookup(state: Lookup) -> &'static str {
    match state {
        Lookup::Absent => "absent",
        Lookup::Ok => "ok",
        Lookup::Unknown => "unknown",
        Lookup::Unavailable => "unavailable",
    }
}

/// The feature row as it is stored: little-endian `f32`s and the low four bytes of their `xxh3_64`, in base64. Many a flipped
/// bit would not change a score; the checksum shows it.
pub fn encode_row(row: &Row) -> String {
    let mut out = Vec::new();
    append_row(&mut out, row);
    String::from_utf8(out).unwrap_or_default() // letters and digits
}

/// Bytes of a row and its checksum, and of their text.
const ROW_BYTES: usize = 4 * FEATURES + 4;
const ROW_TEXT: usize = (ROW_BYTES * 4).div_ceil(3);

fn append_row(out: &mut Vec<u8>, row: &Row) {
    let mut bytes = [0; ROW_BYTES];
    let (values, sum) = bytes.split_at_mut(4 * FEATURES);
    values.copy_from_slice(row.map(f32::to_le_bytes).as_flattened());
    sum.copy_from_slice(&row_sum(values));
    let mut text = [0; ROW_TEXT];
    // the text has exactly this length
    let written = STANDARD_NO_PAD.encode_slice(bytes, &mut text).unwrap_or(0);
    out.extend_from_slice(&text[..written]);
}

fn row_sum(bytes: &[u8]) -> [u8; 4] {
    (xxh3_64(bytes) as u32).to_le_bytes()
}

/// The row as it was, bit by bit; `None` when the text is no row of this schema, or damaged.
pub fn decode_row(encoded: &str) -> Option<Row> {
    let bytes = STANDARD_NO_PAD.decode(encoded).ok()?;
    let (bytes, sum) = bytes.split_last_chunk::<4>()?;
    if row_sum(bytes) != *sum {
        return None;
    }
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c)).collect();
    values.try_into().ok()
}

/// Appends `"score":..,"p_value":..` of a -log10 p.
fn whole(out: &mut Vec<u8>, surprise: f64) {
    out.extend_from_slice(b"\"score\":");
    number(out, on_scale(surprise));
    member(out, "p_value");
    let p = libm::exp10(-surprise.max(0.0)) as f32;
    out.extend_from_slice(ryu::Buffer::new().format_finite(p).as_bytes());
}

/// The members of a record that follow from its feature row, its rules' part and its model, as they are printed there, as one
/// JSON object: `score`, `p_value`, `score_base`, `score_rules`. All are -log10 p.
pub fn figures(surprise: f64, base: Option<f64>, rules: Option<f64>) -> String {
    let mut out = Vec::with_capacity(128);
    out.push(b'{');
    whole(&mut out, surprise);
    optional(&mut out, "score_base", base);
    optional(&mut out, "score_rules", rules);
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default() // digits and names
}

/// Appends the whole record.
pub fn scored(out: &mut Vec<u8>, batch: &Batch, event: &Event, score: &Score, decision: &Decision<'_>) {
    let arena = &batch.arena;
    out.extend_from_slice(b"{\"id\":");
    text(out, arena.get(event.id));
    member(out, "source");
    text(out, arena.get(event.source));
    member(out, "type");
    text(out, arena.get(event.type_text));
    member(out, "time");
    rfc3339(out, event.time_ms);
    out.push(b',');
    whole(out, score.surprise);
    member(out, "decision");
    text(out, if decision.anomaly { "anomaly" } else { "normal" });
    member(out, "channel");
    text(out, score.channel.name());
    member(out, "threshold_value");
    number(out, decision.threshold_value);
    member(out, "threshold");
    text(out, decision.threshold);
    member(out, "confidence");
    number(out, decision.confidence);
    member(out, "severity");
    text(out, decision.severity.name());
    parts(out, batch, event, score);
    out.push(b'}');
}

fn parts(out: &mut Vec<u8>, batch: &Batch, event: &Event, score: &Score) {
    member(out, "group");
    text(out, event.event_type.group().name());
    member(out, "model");
    text(out, batch.context.model_version());
    member(out, "feature_schema");
    number(out, f64::from(FEATURE_SCHEMA));
    optional(out, "score_base", score.base);
    optional(out, "score_rules", score.rules);
    optional(out, "score_supervised", None);
    member(out, "reasons");
    reasons(out, &score.reasons);
    member(out, "rules");
    out.push(b'[');
    for (i, hit) in score.hits.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        text(out, &hit.rule);
    }
    out.push(b']');
    member(out, "late");
    out.extend_from_slice(if event.late { b"true" } else { b"false" });
    member(out, "cold_start");
    out.extend_from_slice(if score.cold_start { b"true" } else { b"false" });
    member(out, "enrichment");
    out.extend_from_slice(b"{\"geo\":");
    text(out, lookup(event.geo));
    member(out, "device");
    text(out, lookup(event.device));
    member(out, "catalogue");
    text(out, lookup(event.catalogue));
    out.push(b'}');
    if let Some(past) = score.past {
        // what the score of a `metric.sample` is computed from
        member(out, "series");
        out.extend_from_slice(b"{\"off\":");
        number32(out, past.off);
        member(out, "deviation");
        number32(out, past.deviation);
        out.push(b'}');
    } else {
        member(out, "features");
        out.push(b'"');
        append_row(out, &score.row);
        out.push(b'"');
        if let Some(rules) = score.rules {
            // `score_rules` is rounded and ends at one; what was weighed is this
            member(out, "rules_decades");
            number(out, rules);
        }
    }
}

/// Is this direction one of the contract's? Used by readers of stored reasons.
pub fn direction(name: &str) -> Option<Direction> {
    [Direction::High, Direction::Low, Direction::New, Direction::Missing].into_iter().find(|d| d.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strings_are_json(s in "\\PC*|[\\x00-\\x7f]*") {
            let mut out = vec![];
            text(&mut out, &s);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), s);
        }
        #[test]
        fn numbers_come_back_bit_by_bit(x in any::<f64>().prop_filter("finite", |x| x.is_finite())) {
            let mut out = vec![];
            number(&mut out, x);
            // serde_json's own reader is off by a bit now and then; the text is exact
            prop_assert_eq!(std::str::from_utf8(&out).unwrap().parse::<f64>().unwrap(), x);
        }
        #[test]
        fn rows_come_back_bit_by_bit(bits: [u32; 8]) {
            let mut row = [f32::NAN; pulse_models::features::FEATURES];
            row.iter_mut().zip(bits).for_each(|(x, b)| *x = f32::from_bits(b));
            let back = decode_row(&encode_row(&row)).unwrap();
            prop_assert!(row.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }

    #[test]
    fn a_flipped_bit_of_a_row_is_noticed() {
        let stored = encode_row(&[0.5; pulse_models::features::FEATURES]);
        let bytes = STANDARD_NO_PAD.decode(&stored).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_row(&STANDARD_NO_PAD.encode(bytes)).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn the_scale_ends_at_one_in_a_million() {
        assert_eq!([on_scale(0.0), on_scale(3.0), on_scale(6.0), on_scale(50.0)], [0.0, 0.5, 1.0, 1.0]);
    }
}
