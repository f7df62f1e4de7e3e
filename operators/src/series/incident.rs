//! From findings to incidents: one for a cause, named after the segment that explains most, within a daily budget.
//!
//! Deliberately absent: events' ids (see [`super::members`]), delivery, verdicts.

use super::MINUTE_MS;
use super::key::{Dimension, Metric, Segment};
use super::series::Side;
use bitcode::{Decode, Encode};
use std::collections::BTreeSet;

/// Contributors named in an incident: more is not read.
pub const MAX_CONTRIBUTORS: usize = 10;
/// A segment explains the total when its own deviation is at least this share of the total's.
const EXPLAINS: f64 = 0.8;
/// A segment with this share of the business is as good as the whole shop, and the shop is named.
pub const ALMOST_ALL: f64 = 0.9;
/// Findings of different dimensions belong together when their starts are at most this far apart.
const TOGETHER_MS: i64 = 30 * MINUTE_MS;
/// An incident is resolved after this long without a finding.
pub const RESOLVE_AFTER_MS: i64 = 15 * MINUTE_MS;
/// An update is sent at most this often, unless there is a new contributor.
const UPDATE_EVERY_MS: i64 = 15 * MINUTE_MS;
/// Decades by which each incident beyond the soft budget must be clearer than the last.
const STRICTER: f64 = 3.0;
/// Decades from which on an incident is critical.
const CRITICAL: f64 = 12.0;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Kinds of trouble, in the order in which they are taken for the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Family {
    /// More payments fail than usual.
    Failures,
    /// Fewer orders, payments, views, less revenue.
    SalesLow,
    /// More refunds.
    Refunds,
    /// Far more orders, payments, views.
    SalesHigh,
}
fn family(metric: Metric, side: Side) -> Family {
    match (metric, side) {
        (Metric::PaymentsFailed, _) => Family::Failures,
        (Metric::Refunds | Metric::RefundAmount, _) => Family::Refunds,
        (_, Side::Low) => Family::SalesLow,
        (_, Side::High) => Family::SalesHigh,
    }
}

/// A finding with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Metric.
    pub metric: Metric,
    /// Segment.
    pub segment: Segment,
    /// Which way.
    pub side: Side,
    /// Decades (-log10 p).
    pub decades: f64,
    /// Decades it must have; weaker findings only help to name the cause.
    pub needed: f64,
    /// Start of the window.
    pub start_ms: i64,
    /// End of the window.
    pub end_ms: i64,
    /// Value in the window.
    pub seen: f64,
    /// Usual value in it: least, middle, greatest.
    pub expected: (f64, f64, f64),
}
impl Candidate {
    fn strong(&self) -> bool {
        self.decades >= self.needed
    }
    fn deviation(&self) -> f64 {
        (self.seen - self.expected.1).abs()
    }
}

/// A series that moved with the incident.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Contributor {
    /// Metric.
    pub metric: Metric,
    /// Segment.
    pub segment: Segment,
    /// Which way.
    pub side: Side,
    /// Value in its window.
    pub seen: f64,
    /// Usual value in it.
    pub expected: f64,
}

/// An open incident.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Incident {
    /// Made from metric, segment and start.
    pub id: String,
    /// Metric that leads.
    pub metric: Metric,
    /// Segment that explains most.
    pub segment: Segment,
    /// Which way.
    pub side: Side,
    /// Kind of trouble.
    pub family: Family,
    /// Start of the first unusual window, ms since the epoch.
    pub started_ms: i64,
    /// Watermark time at which it was found.
    pub detected_ms: i64,
    /// When it was usual again; set with the last message.
    pub resolved_ms: Option<i64>,
    /// Value since the start, minor units for money.
    pub seen: f64,
    /// Usual value over the same time: least, middle, greatest.
    pub expected: (f64, f64, f64),
    /// Strongest evidence so far, decades.
    pub decades: f64,
    /// Money at stake, minor units of the shop's currency.
    pub impact_minor: i64,
    /// Series that moved with it.
    pub contributors: Vec<Contributor>,
    unusual_ms: i64,
    told_ms: i64,
    covered_ms: i64,
    changed: bool,
}
impl Incident {
    /// `critical` or `warning`.
    pub fn severity(&self) -> &'static str {
        if self.decades >= CRITICAL { "critical" } else { "warning" }
    }
    /// Events missing or too many.
    pub fn events(&self) -> i64 {
        if self.metric.is_money() { 0 } else { libm::round((self.seen - self.expected.1).abs()) as i64 }
    }
    fn new(c: &Candidate, now_ms: i64) -> Incident {
        let cause = format!("{}|{}={}|{}", c.metric.name(), c.segment.dimension.name(), c.segment.label, c.start_ms);
        Incident {
            id: format!("inc_{:016x}", xxhash_rust::xxh3::xxh3_64(cause.as_bytes())),
            metric: c.metric,
            segment: c.segment.clone(),
            side: c.side,
            family: family(c.metric, c.side),
            started_ms: c.start_ms,
            detected_ms: now_ms,
            resolved_ms: None,
            seen: c.seen,
            expected: c.expected,
            decades: c.decades,
            impact_minor: 0,
            contributors: Vec::new(),
            unusual_ms: now_ms,
            told_ms: now_ms,
            covered_ms: c.end_ms,
            changed: false,
        }
    }
    /// Takes up a minute of its series that has closed; the part that the first window covered is left out.
    pub fn grow(&mut self, minute_end_ms: i64, seen: f64, usual: (f64, f64, f64)) {
        let part = ((minute_end_ms - self.covered_ms).clamp(0, MINUTE_MS)) as f64 / MINUTE_MS as f64;
        self.covered_ms = self.covered_ms.max(minute_end_ms);
        self.seen += part * seen;
        self.expected.0 += part * usual.0;
        self.expected.1 += part * usual.1;
        self.expected.2 += part * usual.2;
    }
    fn leads(&self, c: &Candidate) -> bool {
        self.metric == c.metric && self.segment == c.segment && self.side == c.side
    }
    /// Is this finding part of the incident?
    fn explains(&self, c: &Candidate) -> bool {
        let theirs = family(c.metric, c.side);
        let same_place = self.segment == c.segment || self.segment.is_total();
        let since_start = (c.start_ms - self.started_ms).abs() <= TOGETHER_MS;
        let meanwhile = (self.started_ms - TOGETHER_MS..=self.unusual_ms + TOGETHER_MS).contains(&c.start_ms);
        let known = self.contributors.iter().any(|k| k.metric == c.metric && k.segment == c.segment);
        // who pays how, and where an event came from, is no place of its own: it shows what happens elsewhere
        let shows = matches!(c.segment.dimension, Dimension::Method | Dimension::Source) && meanwhile;
        let near = match c.segment.dimension == self.segment.dimension {
            true => shows && theirs == Family::Failures,
            false => since_start || shows,
        };
        let near = c.segment.is_total() || known || near;
        match (self.family, theirs) {
            (a, b) if a == b => same_place || near,
            // payments that fail make orders fail, and card testing makes payments many; not the other way round
            (Family::Failures, Family::SalesLow | Family::SalesHigh) => same_place || near,
            (Family::SalesLow, Family::Failures) => same_place,
            _ => false,
        }
    }
    fn absorb(&mut self, c: &Candidate) {
        let known = self.contributors.iter_mut().find(|k| k.metric == c.metric && k.segment == c.segment);
        if let Some(known) = known {
            (known.seen, known.expected) = (c.seen, c.expected.1);
        } else if self.contributors.len() < MAX_CONTRIBUTORS {
            self.contributors.push(Contributor {
                metric: c.metric,
                segment: c.segment.clone(),
                side: c.side,
                seen: c.seen,
                expected: c.expected.1,
            });
            self.changed = true;
        }
    }
}

/// What became of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// New.
    Opened,
    /// Grew, or more series joined.
    Updated,
    /// Usual again.
    Resolved,
}

/// Open incidents and the budget.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Incidents {
    open: Vec<Incident>,
    opened_ms: Vec<i64>,
    held_back: BTreeSet<(Segment, Metric)>,
    overflow: u64,
}

/// Incidents a day: up to `soft` at the usual threshold, from there each must be clearer, never more than `hard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// At the usual threshold.
    pub soft: usize,
    /// At all.
    pub hard: usize,
}

impl Incidents {
    /// Open ones, oldest first.
    pub fn open(&self) -> &[Incident] {
        &self.open
    }
    /// Open ones, to follow their values.
    pub fn open_mut(&mut self) -> impl Iterator<Item = &mut Incident> {
        self.open.iter_mut()
    }
    /// Findings held back by the budget, each series once while it lasts.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }
    /// Takes up the findings of a step.
    pub fn step(&mut self, now_ms: i64, mut candidates: Vec<Candidate>, budget: Budget) -> Vec<(Stage, Incident)> {
        candidates.sort_by(|a, b| {
            let key = |c: &Candidate| (family(c.metric, c.side), c.segment.clone(), c.metric);
            b.decades.total_cmp(&a.decades).then_with(|| key(a).cmp(&key(b)))
        });
        let mut fresh = Vec::new();
        for c in candidates {
            if let Some(lead) = self.open.iter_mut().find(|i| i.leads(&c)) {
                lead.unusual_ms = now_ms;
                lead.decades = lead.decades.max(c.decades);
            } else if let Some(cause) = self.open.iter_mut().find(|i| i.explains(&c)) {
                if c.strong() {
                    cause.absorb(&c);
                    // the whole shop is unusual as long as a part of it is
                    if cause.segment.is_total() && family(c.metric, c.side) == cause.family {
                        cause.unusual_ms = now_ms;
                    }
                }
            } else {
                fresh.push(c);
            }
        }
        self.opened_ms.retain(|t| now_ms - t < DAY_MS);
        let mut out = self.open_new(now_ms, fresh, budget);
        out.extend(self.follow(now_ms));
        out
    }
    fn open_new(&mut self, now_ms: i64, mut fresh: Vec<Candidate>, budget: Budget) -> Vec<(Stage, Incident)> {
        let still: BTreeSet<_> = fresh.iter().map(|c| (c.segment.clone(), c.metric)).collect();
        self.held_back.retain(|k| still.contains(k));
        let mut out = Vec::new();
        for kind in [Family::Failures, Family::SalesLow, Family::Refunds, Family::SalesHigh] {
            while let Some(lead) = lead(kind, &fresh) {
                let beyond = (self.opened_ms.len() + 1).saturating_sub(budget.soft) as f64;
                let strongest = fresh.iter().filter(|c| family(c.metric, c.side) == kind);
                let margin = strongest.map(|c| c.decades - c.needed).fold(f64::MIN, f64::max);
                if self.opened_ms.len() >= budget.hard || margin < STRICTER * beyond {
                    for c in fresh.iter().filter(|c| family(c.metric, c.side) == kind && c.strong()) {
                        if self.held_back.insert((c.segment.clone(), c.metric)) {
                            self.overflow += 1;
                        }
                    }
                    break;
                }
                let mut incident = Incident::new(&lead, now_ms);
                fresh.retain(|c| {
                    let part = incident.leads(c) || incident.explains(c);
                    if part && c.strong() && !incident.leads(c) {
                        incident.absorb(c);
                    }
                    !part
                });
                incident.changed = false;
                self.opened_ms.push(now_ms);
                self.open.push(incident.clone());
                out.push((Stage::Opened, incident));
            }
        }
        out
    }
    fn follow(&mut self, now_ms: i64) -> Vec<(Stage, Incident)> {
        let mut out = Vec::new();
        for incident in &mut self.open {
            if now_ms - incident.unusual_ms >= RESOLVE_AFTER_MS {
                incident.resolved_ms = Some(incident.unusual_ms);
                out.push((Stage::Resolved, incident.clone()));
            } else if now_ms > incident.detected_ms
                && (incident.changed || (now_ms - incident.told_ms >= UPDATE_EVERY_MS && incident.unusual_ms == now_ms))
                && now_ms - incident.told_ms >= MINUTE_MS
            {
                (incident.told_ms, incident.changed) = (now_ms, false);
                out.push((Stage::Updated, incident.clone()));
            }
        }
        self.open.retain(|i| i.resolved_ms.is_none());
        out
    }
}

/// The finding to name an incident after: of those as large as the total's, the one with the least business of its own.
fn lead(kind: Family, fresh: &[Candidate]) -> Option<Candidate> {
    let of_kind = || fresh.iter().filter(|c| family(c.metric, c.side) == kind);
    let first = of_kind().find(|c| c.strong())?;
    let total = of_kind().find(|c| c.strong() && c.segment.is_total());
    let whole = total.unwrap_or(first);
    let part = of_kind()
        .filter(|c| !c.segment.is_total() && c.metric == whole.metric && c.side == whole.side)
        .filter(|c| c.deviation() >= EXPLAINS * whole.deviation())
        .filter(|c| total.is_none_or(|t| c.expected.1 < ALMOST_ALL * t.expected.1))
        .min_by(|a, b| a.expected.1.total_cmp(&b.expected.1).then_with(|| a.segment.cmp(&b.segment)));
    Some(part.unwrap_or(whole).clone())
}
