//! What was refused is kept in `events.rejected`, with reason, hash and the first bytes: sampled at a fixed rate a second, so
//! that a flood of bad input can neither fill the disk nor slow the good. What is left out is counted.
//!
//! Such a record follows from no record of `events.raw`; its cause has the kind [`GATEWAY_KIND`], which no output has.

use super::metrics::GatewayMetrics;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use pulse_dataflows::ports::{Cause, EventLog, Meta, Partition, Records, Request, Topic, partition};
use pulse_operators::record::Reject;
use pulse_operators::record::json::{Text, Watch};
use pulse_operators::record::mask::Cards;
use serde::Serialize;
use std::num::NonZeroU32;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// [`Cause::kind`] of records that the gateway writes to `events.rejected`.
pub const GATEWAY_KIND: u32 = u32::MAX;
/// Bytes of a refused event that are kept: enough to see what the sender meant.
pub const PAYLOAD_BYTES_MAX: usize = 2_048;
/// Longest card number as written, with separators.
const CARD_BYTES_MAX: usize = 24;

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

impl Kepts {
    /// Renders one that was refused at a stage of the way in; `known`: its id and source, where they could be read.
    pub fn add(
        &mut self,
        stage: &'static str,
        payload: &[u8],
        known: (Option<&str>, Option<&str>),
        reject: &Reject,
        received_ms: i64,
    ) {
        let hash = xxh3_64(payload);
        let record = Kept {
            time: jiff::Timestamp::from_millisecond(received_ms).map(|t| format!("{t:.3}")).unwrap_or_default(),
            id: known.0,
            source: known.1,
            code: reject.code,
            message: &reject.message,
            payload_hash: format!("{hash:016x}"),
            payload: &shown(payload),
            stage,
        };
        self.0.push((hash, serde_json::to_vec(&record).unwrap_or_default())); // strings into memory: cannot fail
    }
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// None?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// As records of `events.rejected`, by its partitions.
    pub fn into_parts(self, partitions: u16, received_ms: i64) -> Vec<(Partition, Records)> {
        let meta = Meta { time_ms: received_ms, cause: Cause { kind: GATEWAY_KIND, ..Cause::default() } };
        let mut parts: Vec<(Partition, Records)> = Vec::new();
        for (hash, value) in self.0 {
            let place = partition(Topic::Rejected, (hash % u64::from(partitions.max(1))) as u16);
            match parts.iter_mut().find(|(p, _)| *p == place) {
                Some((_, records)) => records.push(meta, &value),
                None => parts.push((place, Records::of(meta, &value))),
            }
        }
        parts
    }
}

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
        kept.add("gateway", payload, known, reject, received_ms);
    }
    /// Appends them without waiting: a record that the log does not take is counted, the request is answered all the same.
    pub fn append(&self, kept: Kepts, log: &Arc<dyn EventLog>, received_ms: i64) {
        let n = kept.len() as u64;
        if n == 0 {
            return;
        }
        let not_kept = self.not_kept.clone();
        log.append(Request {
            parts: kept.into_parts(log.partitions(Topic::Rejected), received_ms),
            ack: Some(Box::new(move |outcome| {
                if outcome.is_err() {
                    not_kept.inc_by(n);
                }
            })),
            ..Request::default()
        });
    }
}

/// The first bytes as text, card numbers masked: what could not be read as an event may still hold one. Backslashes separate,
/// for escapes need not be sound here. The cut comes last, or it would leave half a number unmasked.
fn shown(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload.get(..PAYLOAD_BYTES_MAX + CARD_BYTES_MAX).unwrap_or(payload));
    let (mut cards, mut at) = (Cards::default(), 0);
    for raw in text.split('\\') {
        cards.text(&Text { raw, at, escaped: false });
        at += raw.len() as u32 + 1; // a payload is cut off long before
    }
    let masked = cards.rewrite(text.as_bytes(), &[]);
    String::from_utf8_lossy(masked.get(..PAYLOAD_BYTES_MAX).unwrap_or(&masked)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_masked_in_whatever_came() {
        assert_eq!(shown(b"a 4111111111111111 b"), "a ************1111 b");
        assert_eq!(
            shown(br#"{"bad\q":"4111 1111 1111 1111","x":4111111111111112}"#),
            r#"{"bad\q":"**** **** **** 1111","x":4111111111111112}"#
        );
        assert_eq!(shown(b"1 \xff 22"), "1 \u{fffd} 22");
        let cut = ["x".repeat(PAYLOAD_BYTES_MAX - 8), "4111111111111111".into()].concat();
        assert!(shown(cut.as_bytes()).ends_with("x********"));
        assert!(shown(&[0xff; 9_999]).len() <= 3 * PAYLOAD_BYTES_MAX);
    }
}
