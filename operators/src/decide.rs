//! Decides what is an anomaly, and turns a batch into records for the log.
//!
//! Deliberately absent: the score (final when it comes here) and grouping ([`crate::alert`]).

use crate::alert::Anomaly;
use crate::batch::{Batch, Channel, Score};
use crate::cause::working;
use crate::record::enriched::enriched;
use crate::record::scored::{Decision, Severity, on_scale, scored, text};
use crate::record::{EntityKind, Event};
use crate::series::{Dimension, Segment};
use crate::threshold::{Thresholds, of_group};
use pulse_models::features::{COLUMNS, FAILURES_1H, Group};
use std::collections::{BTreeMap, VecDeque};
use timely::container::CapacityContainerBuilder as Builder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{Scope, StreamVec};

/// Precision that is assumed before any label (contract 3).
pub const PRIOR_PRECISION: f64 = 0.5;

/// What is said of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its score.
    Scored,
    /// Why it is not taken up.
    Rejected,
    /// What was looked up, where that is wanted.
    Enriched,
}

/// Records that an event leaves behind.
pub struct Outputs<'a> {
    /// What it says.
    pub said: Said,
    /// Input partition.
    pub partition: u16,
    /// Offset in it.
    pub offset: u64,
    /// JSON.
    pub value: &'a [u8],
}

fn severity(score: f64, threshold: f64, anomaly: bool) -> Severity {
    let top = 1.0 - (1.0 - threshold) / 3.0;
    match anomaly {
        false => Severity::Info,
        true if score >= top => Severity::Critical,
        true => Severity::Warning,
    }
}

/// Decides about one event.
pub fn decide<'a>(event: &Event, score: &Score, thresholds: &'a Thresholds) -> Decision<'a> {
    let threshold_value = of_group(thresholds, event.event_type.group());
    let value = on_scale(score.surprise);
    let anomaly = value >= threshold_value;
    Decision {
        anomaly,
        threshold_value,
        threshold: &thresholds.version,
        confidence: PRIOR_PRECISION,
        severity: severity(value, threshold_value, anomaly),
    }
}

/// Name of a kind of entity in JSON and queries.
pub fn kind_name(kind: EntityKind) -> &'static str {
    match kind {
        EntityKind::Customer => "customer",
        EntityKind::Session => "session",
        EntityKind::Device => "device",
        EntityKind::Card => "card",
        EntityKind::Ip => "ip",
        EntityKind::Email => "email",
        EntityKind::Product => "product",
        EntityKind::Extra => "extra",
        EntityKind::Series => "series",
    }
}

/// Name of the series of a `metric.sample`: `metric`, or `metric{a=b,c=d}`.
pub fn series_name(batch: &Batch, event: &Event) -> String {
    let (metric, dimensions) = (batch.arena.get(event.metric), batch.arena.get(event.dimensions));
    if dimensions.is_empty() { metric.to_owned() } else { format!("{metric}{{{dimensions}}}") }
}

/// Whom an anomaly is about: the entity of the strongest rule, else the one its first reason names, else the customer.
pub fn subject(batch: &Batch, event: &Event, score: &Score) -> (String, String) {
    let single = [
        EntityKind::Customer,
        EntityKind::Session,
        EntityKind::Device,
        EntityKind::Card,
        EntityKind::Ip,
        EntityKind::Email,
    ];
    let named = |kind: EntityKind| match kind {
        EntityKind::Product => {
            let items = batch.arena.items(event);
            items.first().map(|item| ("product".to_owned(), batch.arena.get(item.product_id).to_owned()))
        }
        EntityKind::Extra => {
            let id = event.extra_texts.iter().map(|t| batch.arena.get(*t)).find(|t| !t.is_empty());
            id.and_then(|t| t.split_once(':')).map(|(name, id)| (name.to_owned(), id.to_owned()))
        }
        EntityKind::Series => Some(("series".to_owned(), series_name(batch, event))),
        kind => {
            let span = event.key_texts.get(kind as usize).copied().unwrap_or_default();
            (span.len > 0).then(|| (kind_name(kind).to_owned(), batch.arena.get(span).to_owned()))
        }
    };
    if score.channel == Channel::Series {
        return named(EntityKind::Series).unwrap_or_default();
    }
    let of_rule = score.hits.first().and_then(|hit| hit.entity).and_then(named);
    let of_reason = || {
        let code = &score.reasons.first()?.code;
        single.into_iter().chain([EntityKind::Product]).find(|k| code.contains(kind_name(*k))).and_then(named)
    };
    let any = || single.into_iter().find_map(named);
    of_rule
        .or_else(of_reason)
        .or_else(any)
        .unwrap_or_else(|| ("event".to_owned(), batch.arena.get(event.id).to_owned()))
}

/// What a payment that fails again and again is a case of while payments fail everywhere. Many cards on one device are not.
const FAILS_AGAIN: [&str; 2] = ["payment_failures_card", "velocity_card_10m"];

/// Segments whose incident of failed payments would explain this anomaly.
fn fails_in(batch: &Batch, event: &Event, score: &Score) -> Vec<Segment> {
    let repeated = score.hits.iter().all(|hit| FAILS_AGAIN.contains(&hit.rule.as_str()));
    let fails = COLUMNS.get(FAILURES_1H).is_some_and(|column| score.reasons.iter().any(|r| r.code == column.0));
    if event.event_type.group() != Group::Payment || !repeated || score.hits.is_empty() && !fails {
        return Vec::new();
    }
    let mut segments = vec![Segment::total()];
    let known = event.country.known().then(|| Segment::new(Dimension::Country, event.country.as_str()));
    segments.extend(known);
    for (dimension, span) in [(Dimension::Method, event.payment_method), (Dimension::Source, event.source)] {
        let label = batch.arena.get(span);
        segments.extend((!label.is_empty()).then(|| Segment::new(dimension, label)));
    }
    segments
}

fn anomaly(batch: &Batch, event: &Event, score: &Score, decision: &Decision<'_>, json: &[u8]) -> Anomaly {
    let cause = score.hits.first().map(|hit| hit.rule.clone());
    Anomaly {
        partition: event.partition,
        offset: event.offset,
        time_ms: event.time_ms,
        clock_ms: batch.clock_ms,
        id: batch.arena.get(event.id).to_owned(),
        source: batch.arena.get(event.source).to_owned(),
        entity: subject(batch, event, score),
        cause: cause.or_else(|| score.reasons.first().map(|r| r.code.clone())).unwrap_or_else(|| "unusual".into()),
        severity: decision.severity,
        fails_in: fails_in(batch, event, score),
        budget: batch.context.budget(),
        quiet: batch.context.is_quiet(event.time_ms),
        scored: json.to_vec(),
    }
}

/// Appends the record of a rejected event.
fn rejected(out: &mut Vec<u8>, r: &crate::batch::Rejected) {
    out.extend_from_slice(b"{\"time\":");
    crate::record::scored::rfc3339(out, r.received_ms);
    out.extend_from_slice(b",\"stage\":\"dataflow\",\"code\":");
    text(out, r.reject.code);
    out.extend_from_slice(b",\"message\":");
    text(out, &r.reject.message);
    let place = format!(
        ",\"partition\":{},\"offset\":{},\"payload_hash\":\"{:016x}\",\"payload\":",
        r.partition, r.offset, r.payload_hash
    );
    out.extend_from_slice(place.as_bytes());
    text(out, &r.payload);
    out.push(b'}');
}

/// Decides about a whole batch: every record to `write`, in the order of (partition, offset), anomalies to `found`.
pub fn decide_batch(batch: &Batch, thresholds: &Thresholds, write: &mut dyn FnMut(Outputs), found: &mut Vec<Anomaly>) {
    let (mut json, work) = (Vec::with_capacity(1024), working("Decide"));
    for (slot, (event, score)) in batch.events.iter().zip(&batch.scores).enumerate() {
        let Some(score) = score else { continue };
        work.at(event.order());
        let decision = decide(event, score, thresholds);
        json.clear();
        scored(&mut json, batch, event, score, &decision);
        write(Outputs { said: Said::Scored, partition: event.partition, offset: event.offset, value: &json });
        if decision.anomaly {
            found.push(anomaly(batch, event, score, &decision, &json));
        }
        if !batch.native.is_empty() {
            json.clear();
            enriched(&mut json, batch, slot);
            write(Outputs { said: Said::Enriched, partition: event.partition, offset: event.offset, value: &json });
        }
    }
    for r in &batch.rejected {
        json.clear();
        rejected(&mut json, r);
        write(Outputs { said: Said::Rejected, partition: r.partition, offset: r.offset, value: &json });
    }
}

/// Waits for the thresholds of each epoch, then hands batch and thresholds to `finish`, in the order of epochs. `start` holds
/// the thresholds that may be in force already.
pub fn deciding<'s, B: 'static>(
    scope: Scope<'s, u64>,
    batches: StreamVec<'s, u64, B>,
    thresholds: StreamVec<'s, u64, (u64, Thresholds)>,
    start: &[Thresholds],
    mut finish: impl FnMut(B, &Thresholds, &mut Vec<Anomaly>) + 'static,
) -> StreamVec<'s, u64, Anomaly> {
    let mut known: BTreeMap<u64, Thresholds> = start.iter().map(|t| (t.from_epoch, t.clone())).collect();
    let here = Exchange::new(|(worker, _): &(u64, Thresholds)| *worker);
    let again_of = move |address| scope.activator_for(address);
    batches.binary_frontier::<_, Builder<Vec<Anomaly>>, _, _, _, _>(
        thresholds,
        Pipeline,
        here,
        "Decide",
        move |_capability, info| {
            let again = again_of(info.address);
            let mut open = VecDeque::<(Capability<u64>, B)>::new();
            let mut found = Vec::new();
            move |(batches, _), (thresholds, frontier), output| {
                batches.for_each(|cap, data| {
                    let Some(epoch) = cap.least().copied() else { return };
                    open.extend(data.drain(..).map(|batch| (cap.delayed(&epoch, 0), batch)));
                });
                thresholds.for_each(|_, data| {
                    known.extend(data.drain(..).map(|(_, t)| (t.from_epoch, t)));
                });
                if let Some((cap, batch)) = open.pop_front_if(|(cap, _)| !frontier.less_equal(cap.time())) {
                    let epoch = *cap.time();
                    let newest = known.range(..=epoch).next_back().map(|(from, _)| *from);
                    known.retain(|from, _| newest.is_none_or(|newest| *from >= newest));
                    if let Some(now) = newest.and_then(|from| known.get(&from)) {
                        finish(batch, now, &mut found);
                    }
                    output.session(&cap).give_iterator(found.drain(..));
                    if !open.is_empty() {
                        again.activate();
                    }
                }
            }
        },
    )
}
