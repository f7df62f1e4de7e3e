//! The book of all series: takes points, closes buckets by the watermark, asks the detectors, opens incidents.
//!
//! Bounded: at most [`MAX_SEGMENTS`] segments of eight metrics; a new one takes the place of the least active one when it has
//! become more active, until then it counts in the total only.

use super::incident::{ALMOST_ALL, Budget, Candidate, Incident, Incidents, Stage};
use super::key::{Dimension, METRICS, Metric, Point, Segment};
use super::payments::Payments;
use super::points::Money;
use super::rhythm::WEEK_MIN;
use super::series::{Finding, RING, Series, Side};
use super::{MINUTE_MS, SLICE_MS};
use bitcode::{Decode, Encode};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};

/// Segments with series of their own: 64 x 8 metrics = 512 series, about 2 KB each.
pub const MAX_SEGMENTS: usize = 64;
/// Segments that wait for a place, with their activity.
pub const MAX_WAITING: usize = 256;
/// Cells of buckets that are not closed yet: at 512 series enough for over three hours that one source is ahead of another.
pub const MAX_PENDING: usize = 100_000;
/// After this long without any point there is nothing left to judge: time is skipped until the next one.
pub const MAX_EMPTY_MS: i64 = 24 * 60 * MINUTE_MS;
/// Activity is forgotten by half in a day, per hour.
const ACTIVITY_DECAY: f64 = 0.971_532;
/// A waiting segment must be this much more active than the one whose place it takes.
const TAKES_PLACE: f64 = 2.0;
/// Decades that failed payments of the whole shop, or of a segment as large, need beyond those of a segment.
const WHOLE_EXTRA: f64 = 0.5;
/// How long a finding over hours holds: until the next hour is final, and a little.
const LONG_HOLDS_MIN: i64 = 65;
/// Findings below this are not even used to name a cause, in decades.
const WEAK: f64 = 3.0;

/// Settings of the metric level.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesConfig {
    /// The shop's currency.
    pub money: Money,
    /// IANA name of the shop's time zone: rhythm is by its hour of the week.
    pub timezone: String,
    /// A bucket is judged this long after its end, ms.
    pub close_after_ms: i64,
    /// And amended until this long after, ms.
    pub allowed_lateness_ms: i64,
    /// Decades (-log10 p) that the whole shop's series need for an incident.
    pub total_decades: f64,
    /// The same for segments, which are many.
    pub segment_decades: f64,
    /// The same for the share of failed payments of a segment; of the whole half a decade more.
    pub payments_decades: f64,
    /// Incidents a day at these thresholds; more need clearer evidence.
    pub soft_budget: usize,
    /// Incidents a day at most.
    pub hard_budget: usize,
    /// Segments (beside the total) whose minutes are written out.
    pub main_segments: usize,
}
impl Default for SeriesConfig {
    fn default() -> SeriesConfig {
        SeriesConfig {
            money: Money { currency: *b"EUR", exponent: 2 },
            timezone: "UTC".into(),
            close_after_ms: 10_000,
            allowed_lateness_ms: 120_000,
            total_decades: 5.0,
            segment_decades: 6.0,
            payments_decades: 6.0,
            soft_budget: 2,
            hard_budget: 8,
            main_segments: 12,
        }
    }
}

/// Why a book cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// The time zone is not in the database.
    #[error("unknown time zone {0}")]
    TimeZone(String),
    /// The allowed lateness is longer than minutes are kept.
    #[error("the allowed lateness of series is at most 64 minutes")]
    Lateness,
    /// The snapshot cannot be read.
    #[error("damaged snapshot of the series")]
    Damaged,
}

/// What was left out, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counters {
    /// Points of segments without a place of their own.
    pub folded: u64,
    /// Points of buckets that were final.
    pub too_late: u64,
    /// Points beyond `MAX_PENDING`.
    pub too_many: u64,
    /// Minutes skipped in jumps of the watermark.
    pub skipped_minutes: u64,
}

/// A series' value in a minute.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedPoint {
    /// Metric.
    pub metric: Metric,
    /// Count or minor units.
    pub value: i64,
    /// Usual range; `None` while there is no history.
    pub expected: Option<(f64, f64)>,
    /// Unusual?
    pub anomalous: bool,
}
impl ClosedPoint {
    /// Nothing came, and that is usual: readers take what is not written down for 0.
    fn says_nothing(&self) -> bool {
        self.value == 0 && !self.anomalous && self.expected.is_none_or(|(low, _)| low <= 0.0)
    }
}
/// The series of a segment in a minute.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedSegment {
    /// Segment.
    pub segment: Segment,
    /// By metric.
    pub points: Vec<ClosedPoint>,
}
/// The main series of a minute, without points that are 0 as usual (those of the whole shop are all there, or none).
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedMinute {
    /// Start of the minute.
    pub bucket_ms: i64,
    /// Written again because late events changed it: only the points that changed.
    pub amended: bool,
    /// In the order of segments.
    pub segments: Vec<ClosedSegment>,
}
/// What leaves the book.
#[derive(Clone, Debug, PartialEq)]
pub enum SeriesOutput {
    /// A minute was closed, or amended.
    Closed(ClosedMinute),
    /// An incident was opened, updated or resolved; the watermark time at which.
    Incident(Stage, Box<Incident>, i64),
}

/// A finding over hours holds until the next hour is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
struct Long {
    finding: Finding,
    until_min: i64,
}
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
struct SegmentState {
    series: Vec<Option<Series>>,
    payments: Option<Payments>,
    long: Vec<Option<Long>>,
    activity: f64,
}
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
struct State {
    clock: Option<i64>,
    last_point_ms: i64,
    pending: BTreeMap<(i64, Segment, Metric), i64>,
    segments: BTreeMap<Segment, SegmentState>,
    waiting: BTreeMap<Segment, f64>,
    incidents: Incidents,
    amended: BTreeSet<(i64, Segment, Metric)>,
    counters: Counters,
}

/// All series of a shop.
pub struct SeriesBook {
    config: SeriesConfig,
    zone: TimeZone,
    state: State,
}

impl SeriesBook {
    /// An empty book.
    pub fn new(config: SeriesConfig) -> Result<SeriesBook, SeriesError> {
        let zone = TimeZone::get(&config.timezone).map_err(|_| SeriesError::TimeZone(config.timezone.clone()))?;
        if config.allowed_lateness_ms > (RING as i64 - 64) * MINUTE_MS {
            return Err(SeriesError::Lateness);
        }
        Ok(SeriesBook { config, zone, state: State::default() })
    }
    /// All of its state.
    pub fn snapshot(&self) -> Vec<u8> {
        bitcode::encode(&self.state)
    }
    /// A book as it was when the snapshot was taken.
    pub fn restore(config: SeriesConfig, snapshot: &[u8]) -> Result<SeriesBook, SeriesError> {
        let mut book = SeriesBook::new(config)?;
        book.state = bitcode::decode(snapshot).map_err(|_| SeriesError::Damaged)?;
        Ok(book)
    }
    /// Settings.
    pub fn config(&self) -> &SeriesConfig {
        &self.config
    }
    /// What was left out.
    pub fn counters(&self) -> Counters {
        self.state.counters
    }
    /// Incidents held back by the budget.
    pub fn incidents_held_back(&self) -> u64 {
        self.state.incidents.overflow()
    }
    /// Open incidents.
    pub fn open(&self) -> &[Incident] {
        self.state.incidents.open()
    }
    /// Number of segments with series of their own.
    pub fn segments(&self) -> usize {
        self.state.segments.len()
    }

    /// Adds a point. One of a closed bucket amends it while the allowed lateness lasts.
    pub fn add(&mut self, point: Point) {
        let end = point.bucket_ms + point.metric.bucket_ms();
        let Some(clock) = self.state.clock.filter(|clock| end <= *clock) else {
            let key = (end, point.segment, point.metric);
            if self.state.pending.len() < MAX_PENDING || self.state.pending.contains_key(&key) {
                let sum = self.state.pending.entry(key).or_default();
                *sum = sum.saturating_add(point.value);
            } else {
                self.state.counters.too_many += 1;
            }
            return;
        };
        let minute = point.bucket_ms.div_euclid(MINUTE_MS);
        if (minute + 1) * MINUTE_MS + self.config.allowed_lateness_ms <= clock {
            self.state.counters.too_late += 1;
            return;
        }
        for incident in self.state.incidents.open_mut() {
            if incident.metric == point.metric
                && incident.segment == point.segment
                && incident.started_ms <= point.bucket_ms
            {
                incident.seen += point.value as f64;
            }
        }
        if self.apply(&point) && (minute + 1) * MINUTE_MS <= clock {
            self.state.amended.insert((minute, point.segment, point.metric));
        }
    }

    /// Books a point into its series; `false` when its segment has no place.
    fn apply(&mut self, point: &Point) -> bool {
        let counted = !point.metric.is_money() && METRICS.contains(&point.metric);
        let weight = if counted { point.value as f64 } else { 0.0 };
        // most points are of a segment that is known: one look, nothing copied
        if !self.state.segments.contains_key(&point.segment) {
            if self.state.segments.len() >= MAX_SEGMENTS {
                self.state.counters.folded += 1;
                if self.state.waiting.len() < MAX_WAITING || self.state.waiting.contains_key(&point.segment) {
                    *self.state.waiting.entry(point.segment.clone()).or_default() += weight;
                }
                return false;
            }
            self.state.segments.insert(point.segment.clone(), SegmentState::default());
        }
        let Some(state) = self.state.segments.get_mut(&point.segment) else { return false };
        state.activity += weight;
        self.state.last_point_ms = self.state.last_point_ms.max(point.bucket_ms + point.metric.bucket_ms());
        state.series.resize(METRICS.len(), None);
        state.long.resize(METRICS.len(), None);
        let minute = point.bucket_ms.div_euclid(MINUTE_MS);
        if let Some(slot) = state.series.get_mut(point.metric as usize) {
            slot.get_or_insert_with(|| Series::new(point.metric, minute)).add(minute, point.value);
        }
        if point.metric.bucket_ms() == SLICE_MS {
            let slice = point.bucket_ms.div_euclid(SLICE_MS);
            let payments = state.payments.get_or_insert_with(|| Payments::new(slice));
            payments.add(point.metric, point.bucket_ms, point.value);
        }
        true
    }

    /// Closes what the watermark allows, in steps of ten seconds of event time.
    pub fn advance(&mut self, watermark_ms: i64) -> Vec<SeriesOutput> {
        let mut out = Vec::new();
        let reach = watermark_ms - self.config.close_after_ms;
        let reach = reach - reach.rem_euclid(SLICE_MS);
        let clock = match self.state.clock {
            Some(clock) => clock,
            None => {
                let Some(((end, ..), _)) = self.state.pending.first_key_value() else { return out };
                let first = end - end.rem_euclid(MINUTE_MS) - MINUTE_MS;
                if first > reach {
                    return out;
                }
                first
            }
        };
        self.state.clock = Some(clock);
        while let Some(end) = self.state.clock.map(|c| c + SLICE_MS).filter(|end| *end <= reach) {
            self.state.clock = Some(end);
            self.step(end, &mut out);
            if end - self.state.last_point_ms >= MAX_EMPTY_MS {
                let next = self.state.pending.first_key_value().map_or(reach, |((due, ..), _)| *due);
                self.resume_at(next.min(reach) - MINUTE_MS);
            }
        }
        out
    }

    /// Skips to a time without judging what lies between: after the system itself was down. Rhythms are kept; open
    /// incidents stay open until they are quiet.
    pub fn resume_at(&mut self, time_ms: i64) {
        let to = time_ms - time_ms.rem_euclid(MINUTE_MS);
        let Some(clock) = self.state.clock.filter(|clock| *clock < to) else { return };
        self.state.counters.skipped_minutes += ((to - clock) / MINUTE_MS) as u64;
        self.state.clock = Some(to);
        let later = self.state.pending.split_off(&(to + 1, Segment::total(), Metric::Orders));
        self.state.counters.too_late += self.state.pending.len() as u64;
        self.state.pending = later;
        self.state.amended.clear();
        for state in self.state.segments.values_mut() {
            state.series.iter_mut().flatten().for_each(|s| s.resume(to / MINUTE_MS - 1));
            state.long.iter_mut().for_each(|l| *l = None);
            if let Some(payments) = &mut state.payments {
                payments.resume(to / SLICE_MS - 1);
            }
        }
    }

    /// Minute of the week, in the shop's time zone, at which this time lies.
    fn week_min(&self, time_ms: i64) -> i32 {
        let offset = jiff::Timestamp::from_millisecond(time_ms).map(|t| self.zone.to_offset(t).seconds()).unwrap_or(0);
        // 1970-01-01 was a Thursday: the week begins there, which is as good as any
        ((time_ms.div_euclid(MINUTE_MS) + i64::from(offset.div_euclid(60))).rem_euclid(i64::from(WEEK_MIN))) as i32
    }

    fn step(&mut self, end: i64, out: &mut Vec<SeriesOutput>) {
        let later = self.state.pending.split_off(&(end + 1, Segment::total(), Metric::Orders));
        for ((due, segment, metric), value) in std::mem::replace(&mut self.state.pending, later) {
            self.apply(&Point { metric, segment, bucket_ms: due - metric.bucket_ms(), value });
        }
        let mut found = self.judge_payments(end);
        if end.rem_euclid(MINUTE_MS) == 0 {
            self.learn(end);
            let minute = end / MINUTE_MS - 1;
            let closed = self.judge_minute(minute, end, &mut found);
            if !closed.segments.is_empty() {
                out.push(SeriesOutput::Closed(closed));
            }
            self.follow(minute);
            if end.rem_euclid(60 * MINUTE_MS) == 0 {
                self.take_turns();
            }
        }
        let budget = Budget { soft: self.config.soft_budget, hard: self.config.hard_budget };
        let now = end + self.config.close_after_ms;
        let told = self.state.incidents.step(now, found, budget);
        if !(told.is_empty() && self.state.incidents.open().is_empty()) {
            self.price(told, now, out);
        }
        if !self.state.amended.is_empty() {
            self.write_amended(end, out);
        }
    }

    /// Says what incidents cost, and hands out those to be told.
    fn price(&mut self, told: Vec<(Stage, Incident)>, now: i64, out: &mut Vec<SeriesOutput>) {
        let worth = self.worth();
        for incident in self.state.incidents.open_mut() {
            incident.impact_minor = impact(incident, worth);
        }
        for (stage, mut incident) in told {
            incident.impact_minor = impact(&incident, worth);
            out.push(SeriesOutput::Incident(stage, Box::new(incident), now));
        }
    }

    fn judge_payments(&mut self, end: i64) -> Vec<Candidate> {
        let slice = end / SLICE_MS - 1;
        let whole = self.state.segments.get(&Segment::total()).and_then(|s| s.payments.as_ref());
        let (shop, all) = (whole.map(|p| p.share(None)), whole.map_or(f64::MAX, Payments::tried));
        let mut found = Vec::new();
        for (segment, state) in &mut self.state.segments {
            let Some(payments) = &mut state.payments else { continue };
            // many attempts are many chances to see a run of failures
            let extra = if payments.tried() >= ALMOST_ALL * all { WHOLE_EXTRA } else { 0.0 };
            let needed = self.config.payments_decades + extra;
            let finding = payments.judge(slice, shop.filter(|_| !segment.is_total()));
            payments.learn(slice, finding.is_some_and(|f| f.decades >= needed));
            let strong_enough = finding.filter(|f| f.decades >= WEAK);
            found.extend(strong_enough.map(|f| candidate(Metric::PaymentsFailed, segment, &f, needed, end)));
        }
        found
    }

    /// Of each segment, in their order: is it written out?
    fn main_segments(&self) -> Vec<bool> {
        let mut main = vec![false; self.state.segments.len()];
        let mut parts = Vec::with_capacity(main.len());
        for (at, (segment, state)) in self.state.segments.iter().enumerate() {
            match segment.is_total() {
                true => main[at] = true,
                false => parts.push((at, state.activity)),
            }
        }
        // of equally active ones the first in their order
        parts.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        parts.iter().take(self.config.main_segments).for_each(|(at, _)| main[*at] = true);
        main
    }

    fn judge_minute(&mut self, minute: i64, end: i64, found: &mut Vec<Candidate>) -> ClosedMinute {
        let week_min = self.week_min(end);
        let main = self.main_segments();
        let (total, part) = (self.config.total_decades, self.config.segment_decades);
        let open = self.state.incidents.open();
        let mut segments = Vec::with_capacity(self.config.main_segments + 1);
        for ((segment, state), main) in self.state.segments.iter_mut().zip(main) {
            let needed = if segment.is_total() { total } else { part };
            let failing = state.payments.as_ref().is_some_and(Payments::frozen);
            let followed = open.iter().any(|incident| incident.segment == *segment);
            let mut points = Vec::with_capacity(if main { METRICS.len() } else { 0 });
            for (series, long) in state.series.iter_mut().zip(&state.long) {
                let Some(series) = series else { continue };
                let metric = series.metric();
                let mut judged = series.judge(minute, week_min, main || followed);
                // tills that are closed on Sundays are missed only once one Sunday was seen
                let known = segment.is_total() || !series.may_be_closed(week_min - 1);
                let believed = |f: &Finding| known || f.side == Side::High;
                judged.finding = judged.finding.filter(believed);
                let unusual = judged.finding.is_some_and(|f| f.decades >= needed);
                series.mark(minute, week_min, unusual);
                if let Some(f) = judged.finding.filter(|f| f.decades >= WEAK) {
                    found.push(candidate(metric, segment, &f, needed, end));
                } else if let Some(long) =
                    long.filter(|l| l.until_min >= minute && l.finding.decades >= WEAK && believed(&l.finding))
                {
                    found.push(candidate(metric, segment, &long.finding, needed, end));
                }
                if main {
                    let anomalous = unusual || (metric == Metric::PaymentsFailed && failing);
                    points.push(ClosedPoint { metric, value: judged.value, expected: judged.expected, anomalous });
                }
            }
            if !segment.is_total() {
                points.retain(|point| !point.says_nothing());
            }
            if main && !points.is_empty() {
                segments.push(ClosedSegment { segment: segment.clone(), points });
            }
        }
        // a night of a small shop is nothing to write down
        if segments.iter().flat_map(|s| &s.points).all(ClosedPoint::says_nothing) {
            segments.clear();
        }
        ClosedMinute { bucket_ms: minute * MINUTE_MS, amended: false, segments }
    }

    /// Minutes that are final now are learned from.
    fn learn(&mut self, end: i64) {
        let end = end - self.config.allowed_lateness_ms;
        let end = end - end.rem_euclid(MINUTE_MS);
        let (minute, week_min) = (end / MINUTE_MS - 1, self.week_min(end));
        for state in self.state.segments.values_mut() {
            for (series, long) in state.series.iter_mut().zip(&mut state.long) {
                let Some(series) = series.as_mut().filter(|s| s.since() <= minute) else { continue };
                if let Some(f) = series.learn(minute, week_min) {
                    *long = Some(Long { finding: f, until_min: minute + LONG_HOLDS_MIN });
                }
            }
        }
    }

    /// Open incidents follow their series.
    fn follow(&mut self, minute: i64) {
        for incident in self.state.incidents.open_mut() {
            let Some(state) = self.state.segments.get(&incident.segment) else { continue };
            let Some(Some(series)) = state.series.get(incident.metric as usize) else { continue };
            let value = series.value(minute) as f64;
            let usual = match (&state.payments, incident.metric) {
                (Some(payments), Metric::PaymentsFailed) => {
                    let tried = state.series.get(Metric::PaymentsAttempted as usize).and_then(Option::as_ref);
                    let usual = tried.map_or(value, |t| t.value(minute) as f64) * payments.share(None);
                    (usual, usual, usual)
                }
                _ => series.usual(),
            };
            incident.grow((minute + 1) * MINUTE_MS, value, usual);
        }
    }

    /// Mean amount of an order and of a refund, minor units.
    fn worth(&self) -> (f64, f64) {
        let total = self.state.segments.get(&Segment::total());
        let mean =
            |m: Metric| total.and_then(|t| t.series.get(m as usize)).and_then(Option::as_ref).map_or(0.0, Series::mean);
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        (ratio(mean(Metric::Revenue), mean(Metric::Orders)), ratio(mean(Metric::RefundAmount), mean(Metric::Refunds)))
    }

    /// Once an hour: activity fades, and a waiting segment takes the place of one that has become quiet.
    fn take_turns(&mut self) {
        let state = &mut self.state;
        state.segments.values_mut().for_each(|s| s.activity *= ACTIVITY_DECAY);
        state.waiting.values_mut().for_each(|a| *a *= ACTIVITY_DECAY);
        state.waiting.retain(|_, a| *a >= 0.5);
        let first = |a: &(Segment, f64), b: &(Segment, f64)| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(&a.0));
        let eager = state.waiting.iter().map(|(s, a)| (s.clone(), *a)).max_by(first);
        let quiet = state.segments.iter().filter(|(s, _)| s.dimension != Dimension::Total);
        let quiet = quiet.map(|(s, t)| (s.clone(), t.activity)).min_by(first);
        if let (Some(eager), Some(quiet)) = (eager, quiet)
            && eager.1 > TAKES_PLACE * quiet.1
        {
            state.segments.remove(&quiet.0);
            state.waiting.remove(&eager.0);
            state.segments.insert(eager.0, SegmentState { activity: eager.1, ..SegmentState::default() });
        }
    }

    /// Minutes that late events changed are written again once they are final.
    fn write_amended(&mut self, end: i64, out: &mut Vec<SeriesOutput>) {
        let last = (end - self.config.allowed_lateness_ms).div_euclid(MINUTE_MS);
        let later = self.state.amended.split_off(&(last, Segment::total(), Metric::Orders));
        let final_now = std::mem::replace(&mut self.state.amended, later);
        if final_now.is_empty() {
            return;
        }
        let main: BTreeSet<&Segment> =
            self.state.segments.keys().zip(self.main_segments()).filter(|m| m.1).map(|m| m.0).collect();
        let mut minutes: BTreeMap<i64, Vec<ClosedSegment>> = BTreeMap::new();
        for (minute, segment, metric) in final_now.into_iter().filter(|k| main.contains(&k.1)) {
            let state = self.state.segments.get(&segment);
            let Some(Some(series)) = state.and_then(|s| s.series.get(metric as usize)) else { continue };
            let expected = series.range(self.week_min((minute + 1) * MINUTE_MS));
            let point = ClosedPoint { metric, value: series.value(minute), expected, anomalous: series.frozen() };
            let segments = minutes.entry(minute).or_default();
            match segments.last_mut().filter(|last| last.segment == segment) {
                Some(last) => last.points.push(point),
                None => segments.push(ClosedSegment { segment, points: vec![point] }),
            }
        }
        for (minute, segments) in minutes {
            out.push(SeriesOutput::Closed(ClosedMinute { bucket_ms: minute * MINUTE_MS, amended: true, segments }));
        }
    }
}

fn candidate(metric: Metric, segment: &Segment, f: &Finding, needed: f64, end_ms: i64) -> Candidate {
    Candidate {
        metric,
        segment: segment.clone(),
        side: f.side,
        decades: f.decades,
        needed,
        start_ms: end_ms - f.window_ms,
        end_ms,
        seen: f.seen,
        expected: f.expected,
    }
}

/// Money at stake, minor units: missing revenue, orders or payments, or what too many refunds cost. More business than usual
/// costs nothing.
fn impact(incident: &Incident, (order, refund): (f64, f64)) -> i64 {
    let off = incident.seen - incident.expected.1;
    let money = match (incident.metric, incident.side) {
        (Metric::Revenue, _) => -off,
        (Metric::Orders | Metric::PaymentsAuthorized | Metric::PaymentsAttempted, Side::Low) => -off * order,
        (Metric::PaymentsFailed, _) => off * order,
        (Metric::Refunds, _) => off * refund,
        _ => 0.0,
    };
    libm::round(money.max(0.0)) as i64
}
