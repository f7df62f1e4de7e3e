//! The report of a backtest: how many alerts, whether the alert rate was what was asked for, and, where there are labels, how
//! good they were.
//!
//! Whatever has no label counts as ordinary; `expected` and `duplicate` are left out. `precision` and `recall` are about
//! events that were decided to be anomalies; `notifications` about what people were told: alerts that were not held back, and
//! incidents. An alert is right when one of the events it names is trouble, an incident when it lies in a labelled window of
//! its series or half the events it names are trouble. Precision at 100 a day is the card precision of the Fraud Detection
//! Handbook: each day the 100 cards (else customers, else events) with the highest scores, those found on earlier days left
//! out, mean over days. Deliberately absent: scores and decisions, which are final when they come here.

use super::labels::{Known, Truth, Window, event_key};
use pulse_models::metrics::Ranking;
use pulse_operators::record::time::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use statrs::distribution::{ContinuousCDF, Gamma};
use std::collections::{BTreeMap, BTreeSet};

const DAY_MS: i64 = 24 * 3_600_000;
/// From the epoch (a Thursday) to the first Monday.
const MONDAY_MS: i64 = 4 * DAY_MS;
/// Cards looked at in a day.
const CARDS: usize = 100;
/// An incident may be noticed so long after its window's end: hourly windows, and what is judged late.
const AFTER_MS: i64 = 90 * 60_000;

/// A figure and the number of cases it rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// `null` without a case.
    pub value: Option<f64>,
    /// Cases.
    pub count: u64,
}
fn share(part: u64, whole: u64) -> Figure {
    Figure { value: (whole > 0).then(|| rounded(part as f64 / whole as f64)), count: whole }
}
fn rounded(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}

#[derive(Default)]
struct Week {
    span_ms: Option<(i64, i64)>,
    events: u64,
    alerts: u64,
}
/// What came of the trouble of one kind.
#[derive(Default)]
struct OfKind {
    found: u64,
    events: u64,
    episodes: BTreeSet<u64>,
    told: BTreeSet<u64>,
    notifications: u64,
}
#[derive(Default)]
struct Told {
    right: u64,
    wrong: u64,
}

/// What of a scored event counts.
#[derive(Deserialize)]
pub struct Scored<'a> {
    id: std::borrow::Cow<'a, str>,
    source: std::borrow::Cow<'a, str>,
    time: &'a str,
    score: f64,
    decision: &'a str,
}
impl Scored<'_> {
    /// Event time, ms since the epoch.
    pub fn time_ms(&self) -> i64 {
        rfc3339(self.time).unwrap_or(0)
    }
    /// Score in millionths.
    pub fn score(&self) -> u32 {
        (self.score * 1e6).round() as u32
    }
    /// Decided to be an anomaly?
    pub fn anomaly(&self) -> bool {
        self.decision == "anomaly"
    }
}

/// Gathers what a report says.
#[derive(Default)]
pub struct Report {
    weeks: BTreeMap<i64, Week>,
    span_ms: Option<(i64, i64)>,
    ranking: Ranking,
    anomalies: u64,
    found: u64,
    cards: BTreeMap<i64, BTreeMap<u64, (u32, bool)>>,
    kinds: BTreeMap<u16, OfKind>,
    alerts: u64,
    incidents: u64,
    suppressed: u64,
    /// Alerts that people were told of: their cause, and whether an event they named was trouble.
    open: BTreeMap<String, (String, bool)>,
    causes: BTreeMap<String, Told>,
}

fn widen(span: &mut Option<(i64, i64)>, time_ms: i64) {
    let (first, last) = span.unwrap_or((time_ms, time_ms));
    *span = Some((first.min(time_ms), last.max(time_ms)));
}
/// Days of a span; an hour at least.
fn days(span: Option<(i64, i64)>) -> f64 {
    span.map_or(0.0, |(first, last)| ((last - first) as f64 / DAY_MS as f64).max(1.0 / 24.0))
}

impl Report {
    /// Takes in a scored event; `card` is looked at as one.
    pub fn scored(&mut self, event: &Scored, card: u64, truth: &Truth) {
        let time_ms = event.time_ms();
        let week = self.weeks.entry((time_ms - MONDAY_MS).div_euclid(7 * DAY_MS)).or_default();
        widen(&mut week.span_ms, time_ms);
        widen(&mut self.span_ms, time_ms);
        week.events += 1;
        let known = truth.of(event_key(&event.source, &event.id));
        let Some(positive) = known.map_or(Some(false), Known::positive) else { return };
        self.ranking.add(event.score, positive);
        self.anomalies += u64::from(event.anomaly());
        self.found += u64::from(event.anomaly() && positive);
        let best = self.cards.entry(time_ms.div_euclid(DAY_MS)).or_default().entry(card).or_default();
        *best = (best.0.max(event.score()), best.1 || positive);
        if let Some(known) = known {
            let kind = self.kinds.entry(known.kind).or_default();
            kind.events += 1;
            kind.found += u64::from(event.anomaly());
            kind.episodes.insert(known.episode);
        }
    }

    /// Takes in a record of the topic `alerts`.
    pub fn told(&mut self, json: &[u8], truth: &Truth) {
        // minutes of series are most of the topic
        if json.windows(CLOSED.len()).rev().take(64).any(|w| w == CLOSED) {
            return;
        }
        let Ok(message) = serde_json::from_slice::<Value>(json) else { return };
        let data = &message["data"];
        match message["type"].as_str() {
            Some("anomaly.opened") => self.opened(data, truth),
            Some("anomaly.amended") => self.amended(data, truth),
            Some("incident.opened") => self.incident(data, truth),
            _ => {}
        }
    }
    fn opened(&mut self, data: &Value, truth: &Truth) {
        let event = &data["event"];
        let time_ms = event["time"].as_str().and_then(rfc3339).unwrap_or(0);
        self.alerts += 1;
        self.weeks.entry((time_ms - MONDAY_MS).div_euclid(7 * DAY_MS)).or_default().alerts += 1;
        if !data["suppressed"].is_null() {
            self.suppressed += 1;
            return;
        }
        let cause = data["cause"].as_str().unwrap_or_default().to_owned();
        let known = known(event, truth);
        let Some(right) = known.map_or(Some(false), Known::positive) else { return };
        self.count(&cause, right);
        self.open.insert(data["alert_id"].to_string(), (cause, right));
        self.tell(known);
    }
    fn amended(&mut self, data: &Value, truth: &Truth) {
        let known = known(&data["event"], truth);
        let Some((cause, right)) = self.open.get_mut(&data["alert_id"].to_string()) else { return };
        if !*right && known.and_then(Known::positive) == Some(true) {
            *right = true;
            if let Some(told) = self.causes.get_mut(cause) {
                (told.right, told.wrong) = (told.right + 1, told.wrong.saturating_sub(1));
            }
        }
        if let Some(known) = known {
            self.kinds.entry(known.kind).or_default().told.insert(known.episode);
        }
    }
    fn incident(&mut self, data: &Value, truth: &Truth) {
        self.incidents += 1;
        let ids = data["event_ids"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named: Vec<Known> = ids.iter().filter_map(|id| truth.of_id(id.as_str()?)).collect();
        let positive = named.iter().filter(|known| known.positive() == Some(true)).count();
        let windows: Vec<Known> =
            truth.windows.iter().filter(|(window, _)| shows(data, window)).map(|(_, known)| *known).collect();
        let right =
            windows.iter().any(|known| known.positive() == Some(true)) || (positive > 0 && 2 * positive >= ids.len());
        self.count(&format!("incident:{}", data["metric"].as_str().unwrap_or_default()), right);
        let mut kinds = BTreeSet::new();
        for known in windows.into_iter().chain(named) {
            let of = self.kinds.entry(known.kind).or_default();
            of.told.insert(known.episode);
            of.notifications += u64::from(kinds.insert(known.kind));
        }
    }
    fn count(&mut self, cause: &str, right: bool) {
        let told = self.causes.entry(cause.to_owned()).or_default();
        told.right += u64::from(right);
        told.wrong += u64::from(!right);
    }
    fn tell(&mut self, known: Option<Known>) {
        if let Some(known) = known {
            let kind = self.kinds.entry(known.kind).or_default();
            kind.told.insert(known.episode);
            kind.notifications += 1;
        }
    }

    /// All of it as JSON. `summary`: what was counted; `budget`: alerts a day that are wanted.
    pub fn finish(mut self, summary: Value, budget: u32, truth: Option<&Truth>, looked_up: Option<u64>) -> Value {
        let days = days(self.span_ms);
        let per_day = |n: u64| if days > 0.0 { rounded(n as f64 / days) } else { 0.0 };
        let told = self.alerts - self.suppressed + self.incidents;
        let mut out = summary;
        let more = json!({"days": rounded(days), "alerts": self.alerts, "incidents": self.incidents,
            "suppressed": self.suppressed, "notifications": told, "alerts_per_day": per_day(self.alerts),
            "notifications_per_day": per_day(told), "budget_per_day": budget, "weeks": self.weeks(budget)});
        extend(&mut out, more);
        if let Some(truth) = truth {
            extend(&mut out, self.quality());
            extend(&mut out, json!({"by_kind": self.by_kind(truth), "by_cause": self.by_cause()}));
        }
        if let Some(looked_up) = looked_up {
            extend(&mut out, json!({"reviews": looked_up}));
        }
        out
    }
    fn weeks(&self, budget: u32) -> Vec<Value> {
        let one = |(number, week): (&i64, &Week)| {
            let (days, events) = (days(week.span_ms), week.events as f64);
            let rate = |n: f64| if events > 0.0 { Some(n / events) } else { None };
            let (low, high) = poisson(week.alerts);
            json!({"week": name_of_week(*number), "days": rounded(days), "events": week.events, "alerts": week.alerts,
                "target_alerts": rounded(f64::from(budget) * days), "target_rate": rate(f64::from(budget) * days),
                "realised_rate": rate(week.alerts as f64), "interval": [rate(low), rate(high)]})
        };
        self.weeks.iter().map(one).collect()
    }
    fn quality(&mut self) -> Value {
        let positives = self.ranking.positives();
        let events = self.ranking.events();
        let (right, wrong) = self.causes.values().fold((0, 0), |sum, t| (sum.0 + t.right, sum.1 + t.wrong));
        let figure = |value: Option<f64>, count| Figure { value: value.map(rounded), count };
        json!({
            "precision": share(self.found, self.anomalies),
            "recall": share(self.found, positives),
            "average_precision": figure(self.ranking.average_precision(), positives),
            "auroc": figure(self.ranking.auroc(), events),
            "precision_at_100": card_precision(std::mem::take(&mut self.cards)),
            "notification_precision": share(right, right + wrong),
        })
    }
    fn by_kind(&self, truth: &Truth) -> Value {
        let mut windows = BTreeMap::<u16, BTreeSet<u64>>::new();
        for (_, known) in &truth.windows {
            windows.entry(known.kind).or_default().insert(known.episode);
        }
        let mut out = serde_json::Map::new();
        for (number, name) in truth.kinds.iter().enumerate() {
            let number = number as u16;
            let none = OfKind::default();
            let of = self.kinds.get(&number).unwrap_or(&none);
            let mut episodes = windows.remove(&number).unwrap_or_default();
            episodes.extend(&of.episodes);
            if episodes.is_empty() {
                continue;
            }
            let told = of.told.intersection(&episodes).count() as u64;
            out.insert(
                name.clone(),
                json!({"events": share(of.found, of.events), "episodes": share(told, episodes.len() as u64),
                    "notifications": of.notifications}),
            );
        }
        Value::Object(out)
    }
    fn by_cause(&self) -> Value {
        let of = |(cause, told): (&String, &Told)| (cause.clone(), json!(share(told.right, told.right + told.wrong)));
        Value::Object(self.causes.iter().map(of).collect())
    }
}

/// The type of the internal record of a closed minute, at its end: members are sorted.
const CLOSED: &[u8] = b"\"series.closed\"";

fn extend(out: &mut Value, more: Value) {
    if let (Value::Object(out), Value::Object(more)) = (out, more) {
        out.extend(more);
    }
}

/// What is known of the event in an alert.
fn known(event: &Value, truth: &Truth) -> Option<Known> {
    truth.of(event_key(event["source"].as_str()?, event["id"].as_str()?))
}

/// Does an incident lie in a labelled window of its series?
fn shows(incident: &Value, window: &Window) -> bool {
    let time = |name: &str| incident[name].as_str().and_then(rfc3339).unwrap_or(0);
    let overlaps = time("started_at") < window.to.0 + AFTER_MS && time("detected_at") >= window.from.0;
    let metric = incident["metric"].as_str().unwrap_or_default();
    let sales = ["orders", "revenue", "payments_attempted", "payments_authorized", "views"];
    let related = match window.metric.as_str() {
        // all events of a producer
        "" | "events" => true,
        "revenue" | "orders" => sales.contains(&metric),
        // what fails is not sold
        "payments_failed" => metric == "payments_failed" || (sales.contains(&metric) && incident["direction"] == "low"),
        same => same == metric,
    };
    // another value of the same dimension is another place; another dimension may well show the same
    let elsewhere = |name: &String, value: &String| {
        let other = incident["dimensions"][name].as_str();
        other.is_some_and(|other| other != value)
    };
    overlaps && related && !window.dimensions.iter().any(|(name, value)| elsewhere(name, value))
}

/// 95 % interval of the mean of a Poisson count, exact (Garwood 1936).
fn poisson(count: u64) -> (f64, f64) {
    let quantile = |shape: f64, p: f64| Gamma::new(shape, 1.0).map_or(f64::NAN, |gamma| gamma.inverse_cdf(p));
    let n = count as f64;
    (if count == 0 { 0.0 } else { quantile(n, 0.025) }, quantile(n + 1.0, 0.975))
}

/// Mean over days of the share of trouble among the cards with the highest scores.
fn card_precision(days: BTreeMap<i64, BTreeMap<u64, (u32, bool)>>) -> Figure {
    let (mut known, mut sum, count) = (BTreeSet::new(), 0.0, days.len() as u64);
    for cards in days.into_values() {
        let mut cards: Vec<_> = cards.into_iter().filter(|(card, _)| !known.contains(card)).collect();
        cards.sort_by_key(|(card, (score, _))| (std::cmp::Reverse(*score), *card));
        let found: Vec<u64> = cards.iter().take(CARDS).filter(|(_, (_, positive))| *positive).map(|c| c.0).collect();
        sum += found.len() as f64 / CARDS as f64;
        known.extend(found);
    }
    Figure { value: (count > 0).then(|| rounded(sum / count as f64)), count }
}

/// ISO 8601 week, from weeks since the first Monday after the epoch.
fn name_of_week(number: i64) -> String {
    let monday = jiff::Timestamp::from_millisecond(number * 7 * DAY_MS + MONDAY_MS);
    let week = monday.map(|time| time.to_zoned(jiff::tz::TimeZone::UTC).date().iso_week_date());
    week.map(|week| format!("{:04}-W{:02}", week.year(), week.week())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_interval_of_a_count_is_that_of_the_tables() {
        // Garwood's own, to three digits
        for (count, low, high) in [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39), (100, 81.36, 121.6)] {
            let interval = poisson(count);
            assert!((interval.0 - low).abs() < 0.01 && (interval.1 - high).abs() < 0.05, "{count}: {interval:?}");
        }
    }

    #[test]
    fn weeks_have_their_iso_names() {
        assert_eq!(name_of_week((1_795_378_560_000 - MONDAY_MS).div_euclid(7 * DAY_MS)), "2026-W47");
        assert_eq!(name_of_week(-1), "1970-W01");
    }

    proptest! {
        /// By the Handbook's loop: a list of all cards a day, sorted, those found before left out.
        #[test]
        fn card_precision_is_the_handbooks(events in prop::collection::vec((0i64..4, 0u64..260, 0u32..50, 0u8..8), 1..900)) {
            let mut days = BTreeMap::<i64, BTreeMap<u64, (u32, bool)>>::new();
            for (day, card, score, positive) in &events {
                let best = days.entry(*day).or_default().entry(*card).or_default();
                *best = (best.0.max(*score), best.1 || *positive == 0);
            }
            let (mut gone, mut shares) = (Vec::new(), Vec::new());
            for day in days.keys() {
                let of_day = || events.iter().filter(|e| e.0 == *day && !gone.contains(&e.1));
                let mut cards: Vec<u64> = of_day().map(|e| e.1).collect();
                cards.sort();
                cards.dedup();
                let best = |card: u64| of_day().filter(|e| e.1 == card).map(|e| e.2).max().unwrap();
                cards.sort_by_key(|card| (std::cmp::Reverse(best(*card)), *card));
                cards.truncate(100);
                cards.retain(|card| of_day().any(|e| e.1 == *card && e.3 == 0));
                shares.push(cards.len() as f64 / 100.0);
                gone.extend(cards);
            }
            let mean = shares.iter().sum::<f64>() / shares.len() as f64;
            prop_assert!((card_precision(days).value.unwrap() - mean).abs() < 1e-6);
        }
    }
}
