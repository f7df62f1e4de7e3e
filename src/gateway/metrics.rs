//! The gateway's metrics. Sources are the callers' own words: only the first hundred become labels, the rest is `other`.

use super::sources::Way;
use crate::telemetry::{Metrics, names};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use pulse_operators::record::EventType;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Sources with a label of their own: with 23 types that is 2,300 series at most.
pub const SOURCE_LABELS_MAX: usize = 100;
/// Label of everything beyond, of unknown types and of what could not be read.
pub const OTHER: &str = "other";
/// Longest source that becomes a label.
const SOURCE_LABEL_BYTES_MAX: usize = 64;

/// Labels of a received event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    source: Arc<str>,
    r#type: &'static str,
}
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WayOutcome {
    way: &'static str,
    outcome: &'static str,
}

/// What became of an item of a way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In the log.
    Accepted,
    /// The log has it already.
    Duplicate,
    /// No event.
    Rejected,
    /// Nothing that is scored.
    Ignored,
}
impl Outcome {
    fn name(self) -> &'static str {
        ["accepted", "duplicate", "rejected", "ignored"][self as usize]
    }
}

/// Counters and gauges.
#[derive(Clone)]
pub struct GatewayMetrics {
    received: Family<Kind, Counter>,
    last_received: Family<Kind, Gauge>,
    rejected: Family<Code, Counter>,
    ways: Family<WayOutcome, Counter>,
    requests: Family<WayOutcome, Counter>,
    /// Bytes of followed files that are not taken up.
    pub tail_behind: Gauge,
    /// Duplicates the gateway named.
    pub duplicate: Counter,
    /// Card numbers masked.
    pub masked: Counter,
    /// Bytes of bodies held.
    pub bytes_in_flight: Gauge,
    /// Refused events not kept in `events.rejected`.
    pub rejects_not_kept: Counter,
    sources: Arc<Mutex<BTreeSet<Arc<str>>>>,
    other: Arc<str>,
}

/// Counts of one body, so that the shared counters are touched once for each kind.
#[derive(Default)]
pub struct Tally {
    received: Vec<(Kind, u64)>,
    rejected: Vec<(&'static str, u64)>,
}

impl GatewayMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> GatewayMetrics {
        let m = GatewayMetrics {
            received: Family::default(),
            last_received: Family::default(),
            rejected: Family::default(),
            ways: Family::default(),
            requests: Family::default(),
            tail_behind: Gauge::default(),
            duplicate: Counter::default(),
            masked: Counter::default(),
            bytes_in_flight: Gauge::default(),
            rejects_not_kept: Counter::default(),
            sources: Arc::default(),
            other: OTHER.into(),
        };
        let mut r = metrics.lock().unwrap_or_else(|e| e.into_inner());
        r.register(names::EVENTS_RECEIVED, "Events received: accepted, duplicate or rejected", m.received.clone());
        r.register(names::LAST_EVENT_RECEIVED, "Time of the last event received", m.last_received.clone());
        r.register(names::EVENTS_REJECTED, "Events rejected at the gateway", m.rejected.clone());
        let text = "Items of SDKs, webhooks and files by way in: accepted, duplicate, rejected or ignored";
        r.register(names::WAY_ITEMS, text, m.ways.clone());
        r.register(names::TAIL_BEHIND, "Bytes of followed files that are not taken up", m.tail_behind.clone());
        let text = "Requests of SDKs and webhooks by way in: ok, or the code of the refusal";
        r.register(names::WAY_REQUESTS, text, m.requests.clone());
        r.register(names::EVENTS_DUPLICATE, "Events the gateway knew to be duplicates", m.duplicate.clone());
        r.register(names::CARD_NUMBERS_MASKED, "Card numbers masked", m.masked.clone());
        r.register(names::HTTP_BYTES_IN_FLIGHT, "Bytes of request bodies held", m.bytes_in_flight.clone());
        r.register(names::REJECTS_NOT_KEPT, "Rejected events counted only", m.rejects_not_kept.clone());
        drop(r);
        m
    }
    /// The labels of an event.
    pub fn kind(&self, source: &str, type_name: &str) -> Kind {
        let r#type = KNOWN_TYPES.iter().find(|name| **name == type_name).copied().unwrap_or(OTHER);
        Kind { source: self.source(source), r#type }
    }
    fn source(&self, source: &str) -> Arc<str> {
        let mut sources = self.sources.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(known) = sources.get(source) {
            return Arc::clone(known);
        }
        if sources.len() >= SOURCE_LABELS_MAX || source.len() > SOURCE_LABEL_BYTES_MAX {
            return Arc::clone(&self.other);
        }
        let label: Arc<str> = source.into();
        sources.insert(Arc::clone(&label));
        label
    }
    /// Items of a way in.
    pub fn way(&self, way: Way, outcome: Outcome, n: u64) {
        if n > 0 {
            let labels = WayOutcome { way: way.name(), outcome: outcome.name() };
            self.ways.get_or_create(&labels).inc_by(n);
        }
    }
    /// A request of a way in; `outcome`: `ok`, or the code of its problem.
    pub fn request(&self, way: Way, outcome: &'static str) {
        self.requests.get_or_create(&WayOutcome { way: way.name(), outcome }).inc();
    }
    /// Adds a body's counts.
    pub fn add(&self, tally: Tally, received_ms: i64) {
        for (kind, n) in tally.received {
            self.last_received.get_or_create(&kind).set(received_ms / 1_000);
            self.received.get_or_create(&kind).inc_by(n);
        }
        for (code, n) in tally.rejected {
            self.rejected.get_or_create(&Code { code }).inc_by(n);
            let unread = Kind { source: Arc::clone(&self.other), r#type: OTHER };
            self.received.get_or_create(&unread).inc_by(n);
        }
    }
}

impl Tally {
    /// An event that could be read.
    pub fn received(&mut self, metrics: &GatewayMetrics, source: &str, type_name: &str) {
        let same = |kind: &Kind| &*kind.source == source && kind.r#type == type_name;
        match self.received.iter_mut().find(|(kind, _)| same(kind)) {
            Some((_, n)) => *n += 1,
            None => {
                let kind = metrics.kind(source, type_name);
                match self.received.iter_mut().find(|(known, _)| *known == kind) {
                    Some((_, n)) => *n += 1,
                    None => self.received.push((kind, 1)),
                }
            }
        }
    }
    /// One that could not.
    pub fn rejected(&mut self, code: &'static str) {
        match self.rejected.iter_mut().find(|(known, _)| *known == code) {
            Some((_, n)) => *n += 1,
            None => self.rejected.push((code, 1)),
        }
    }
}

/// The contract's types. `EventType` has the same set; a test compares them.
const KNOWN_TYPES: [&str; 22] = [
    "product.viewed",
    "product.clicked",
    "search.performed",
    "cart.added",
    "cart.removed",
    "checkout.started",
    "coupon.applied",
    "coupon.denied",
    "payment.attempted",
    "payment.authorized",
    "payment.failed",
    "payment.captured",
    "order.completed",
    "order.updated",
    "order.cancelled",
    "return.requested",
    "order.refunded",
    "account.created",
    "account.login",
    "account.login_failed",
    "metric.sample",
    "heartbeat",
];
const _: () = assert!(KNOWN_TYPES.len() == EventType::Unknown as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_a_type_of_the_contract() {
        for (i, name) in KNOWN_TYPES.iter().enumerate() {
            assert_eq!(EventType::parse(name) as usize, i, "{name}");
        }
    }

    #[test]
    fn callers_cannot_make_labels_without_end() {
        let metrics = GatewayMetrics::register(&Metrics::default());
        let mut tally = Tally::default();
        for i in 0..10_000 {
            tally.received(&metrics, &format!("s{i}"), &format!("t{i}"));
        }
        assert_eq!(tally.received.len(), SOURCE_LABELS_MAX + 1);
        assert_eq!(tally.received.iter().map(|(_, n)| n).sum::<u64>(), 10_000);
        assert_eq!(metrics.kind("s0", "heartbeat"), Kind { source: "s0".into(), r#type: "heartbeat" });
        assert_eq!(metrics.kind("fresh", "nope"), Kind { source: OTHER.into(), r#type: OTHER });
    }
}
