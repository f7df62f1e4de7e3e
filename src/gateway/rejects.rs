//! What was refused is kept in `events.rejected`, with reason, hash and the first bytes: sampled at a fixed rate a second, so
//! that a flood of bad input can neither fill the disk nor slow the good. What is left out is counted.
//!
//! Such a record follows from no record of `events.raw`; its cause has the kind [`GATEWAY_KIND`], which no output has.

use super::metrics::GatewayMetrics;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use pulse_dataflows::ports::{Cause, EventLog, Meta, Records, Request, Topic, partition};
use pulse_operators::record::Reject;
use serde::Serialize;
use std::num::NonZeroU32;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// [`Cause::kind`] of records that the gateway writes to `events.rejected`.
pub const GATEWAY_KIND: u32 = u32::MAX;
/// Bytes of a refused event that are kept: enough to see what the sender meant.
pub const PAYLOAD_BYTES_MAX: usize = 2_048;
/// Digits of a card number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// A refused event as it is kept.
#[derive(Serialize)]
struct Kept<'a> {
    time: String,
    id: Option<&'a str>,
    source: Option<&'a str>,
    code: &'a str,
    message: &'a str,
    payload_hash: String,
    payload: &'a str,
    stage: &'static str,
}

/// Refused events of one body, chosen and rendered.
#[derive(Default)]
pub struct Kepts(Vec<(u64, Vec<u8>)>);

/// The way to `events.rejected`.
pub struct Rejects {
    rate: DefaultDirectRateLimiter,
    not_kept: prometheus_client::metrics::counter::Counter,
}

impl Rejects {
    /// Keeps at most `per_s` a second.
    pub fn new(per_s: NonZeroU32, metrics: &GatewayMetrics) -> Rejects {
        Rejects { rate: RateLimiter::direct(Quota::per_second(per_s)), not_kept: metrics.rejects_not_kept.clone() }
    }
    /// Renders one for keeping, if the rate allows.
    pub fn keep(
        &self,
        kept: &mut Kepts,
        payload: &[u8],
        known: (Option<&str>, Option<&str>),
        reject: &Reject,
        received_ms: i64,
    ) {
        if self.rate.check().is_err() {
            self.not_kept.inc();
            return;
        }
        let hash = xxh3_64(payload);
        let shown = payload.get(..PAYLOAD_BYTES_MAX).unwrap_or(payload);
        let record = Kept {
            time: jiff::Timestamp::from_millisecond(received_ms).map(|t| format!("{t:.3}")).unwrap_or_default(),
            id: known.0,
            source: known.1,
            code: reject.code,
            message: &reject.message,
            payload_hash: format!("{hash:016x}"),
            payload: &mask(&String::from_utf8_lossy(shown)),
            stage: "gateway",
        };
        kept.0.push((hash, serde_json::to_vec(&record).unwrap_or_default())); // strings into memory: cannot fail
    }
    /// Appends them without waiting: a record that the log does not take is counted, the request is answered all the same.
    pub fn append(&self, kept: Kepts, log: &Arc<dyn EventLog>, received_ms: i64) {
        let n = kept.0.len() as u64;
        if n == 0 {
            return;
        }
        let partitions = u64::from(log.partitions(Topic::Rejected).max(1));
        let meta = Meta { time_ms: received_ms, cause: Cause { kind: GATEWAY_KIND, ..Cause::default() } };
        let mut parts: Vec<(u16, Records)> = Vec::new();
        for (hash, value) in kept.0 {
            let number = (hash % partitions) as u16;
            match parts.iter_mut().find(|(p, _)| *p == number) {
                Some((_, records)) => records.push(meta, &value),
                None => parts.push((number, Records::of(meta, &value))),
            }
        }
        let not_kept = self.not_kept.clone();
        log.append(Request {
            parts: parts.into_iter().map(|(p, records)| (partition(Topic::Rejected, p), records)).collect(),
            ack: Some(Box::new(move |outcome| {
                if outcome.is_err() {
                    not_kept.inc_by(n);
                }
            })),
            ..Request::default()
        });
    }
}

/// Hides runs of 13 to 19 digits that pass the Luhn check: what could not be read as an event may still hold a card number.
fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let (digits, after) = from.split_at(from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len()));
        out.push_str(before);
        if CARD_DIGITS.contains(&digits.len()) && luhn(digits) {
            out.extend(std::iter::repeat_n('*', digits.len()));
        } else {
            out.push_str(digits);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn luhn(digits: &str) -> bool {
    let weigh = |(i, digit): (usize, u8)| match u32::from(digit - b'0') {
        d if i % 2 == 0 => d,
        d if d > 4 => 2 * d - 9,
        d => 2 * d,
    };
    digits.bytes().rev().enumerate().map(weigh).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_hidden_and_other_numbers_are_not() {
        assert_eq!(mask("a 4111111111111111 b"), "a **************** b");
        assert_eq!(mask("{\"x\":4111111111111112}"), "{\"x\":4111111111111112}");
        assert_eq!(mask("1 é 22"), "1 é 22");
    }
}
