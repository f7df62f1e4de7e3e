//! Reviews: people look at the highest alerts of a day and at some events by chance, and what they find is known later.
//!
//! A day is one of the data's clock, in UTC. Its highest alerts are the anomalies by score, then what scored highest below
//! the threshold; of one card (or customer) only the highest event, as a person looks at all of its events at once. The
//! random ones are drawn from all others: without them nobody sees what was missed. Which way an event was chosen, and how
//! probable that was, stands in its label. Deliberately absent: what a verdict changes.

use super::labels::{Names, Truth, Verdict};
use crate::json::rfc3339;
use std::collections::{BTreeMap, HashSet};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Random choices follow from it.
const SEED: u64 = 120;

/// How much people look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reviews {
    /// Highest alerts of a day.
    pub per_day: usize,
    /// Random events of a day.
    pub random: usize,
    /// From the event to its verdict, ms.
    pub delay_ms: i64,
}

/// A scored event of the running day.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Who it is.
    pub names: Names,
    /// Event time.
    pub time_ms: i64,
    /// Score in millionths.
    pub score: u32,
    /// Decided to be an anomaly.
    pub anomaly: bool,
}

/// What was chosen, and what is not known yet.
#[derive(Debug)]
pub struct Desk {
    reviews: Reviews,
    day: Vec<Candidate>,
    due: BTreeMap<(i64, u64), Vec<u8>>,
    looked_up: u64,
}

impl Desk {
    /// An empty one.
    pub fn new(reviews: Reviews) -> Desk {
        Desk { reviews, day: Vec::new(), due: BTreeMap::new(), looked_up: 0 }
    }
    /// An event of the running day.
    pub fn take(&mut self, candidate: Candidate) {
        self.day.push(candidate);
    }
    /// Events looked up so far.
    pub fn looked_up(&self) -> u64 {
        self.looked_up
    }
    /// The day is over at `now_ms`: chooses and looks up.
    pub fn close_day(&mut self, now_ms: i64, truth: &Truth) {
        let mut day = std::mem::take(&mut self.day);
        day.sort_by_key(|c| (!c.anomaly, std::cmp::Reverse(c.score), c.names.own));
        let mut seen = HashSet::new();
        let (mut alerts, mut rest) = (Vec::new(), Vec::new());
        for candidate in day {
            match alerts.len() < self.reviews.per_day && seen.insert(candidate.names.card) {
                true => alerts.push(candidate),
                false => rest.push(candidate),
            }
        }
        let share = (self.reviews.random as f64 / rest.len().max(1) as f64).min(1.0);
        rest.sort_by_key(|c| (xxh3_64_with_seed(&c.names.own.to_le_bytes(), SEED), c.names.own));
        rest.truncate(self.reviews.random);
        let chosen =
            alerts.into_iter().map(|c| (c, "alert", 1.0)).chain(rest.into_iter().map(|c| (c, "random", share)));
        for (candidate, by, probability) in chosen {
            let known = truth.of(candidate.names.own).map_or(Verdict::FalsePositive, |known| known.verdict);
            let time_ms = (candidate.time_ms + self.reviews.delay_ms).max(now_ms);
            self.looked_up += 1;
            self.due.insert((time_ms, self.looked_up), label(&candidate, time_ms, known, by, probability));
        }
    }
    /// The next label that is known by `now_ms`.
    pub fn next_due(&mut self, now_ms: i64) -> Option<(i64, Vec<u8>)> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now_ms)?;
        let ((time_ms, _), json) = entry.remove_entry();
        Some((time_ms, json))
    }
}

fn label(candidate: &Candidate, time_ms: i64, verdict: Verdict, by: &str, probability: f64) -> Vec<u8> {
    let verdict = match verdict {
        Verdict::TruePositive => "true_positive",
        Verdict::FalsePositive | Verdict::Withdrawn => "false_positive",
        Verdict::Expected => "expected",
        Verdict::Duplicate => "duplicate",
    };
    let (id, source) = &candidate.names.event;
    let label = serde_json::json!({"time": rfc3339(time_ms), "event_id": id, "source": source, "verdict": verdict,
        "origin": "review", "by": "review", "chosen_by": by, "probability": probability});
    label.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::labels::names;

    const HOUR_MS: i64 = 3_600_000;

    fn candidate(nth: u32, card: u32, score: u32, anomaly: bool) -> Candidate {
        let json = format!(r#"{{"id":"e-{nth}","source":"web","payment":{{"card":"c-{card}"}}}}"#);
        Candidate { names: names(json.as_bytes()).unwrap(), time_ms: i64::from(nth), score, anomaly }
    }
    fn drain(desk: &mut Desk, now_ms: i64) -> Vec<serde_json::Value> {
        std::iter::from_fn(|| desk.next_due(now_ms)).map(|(_, json)| serde_json::from_slice(&json).unwrap()).collect()
    }

    #[test]
    fn the_highest_of_each_card_then_some_by_chance_and_none_before_its_time() {
        let mut desk = Desk::new(Reviews { per_day: 2, random: 3, delay_ms: 24 * HOUR_MS });
        // an anomaly goes before a higher score below its own threshold; a card is looked at once
        let first = [candidate(0, 1, 700_000, true), candidate(1, 1, 690_000, true), candidate(2, 2, 800_000, false)];
        first.into_iter().for_each(|c| desk.take(c));
        (3..40).for_each(|i| desk.take(candidate(i, i, 100_000, false)));
        desk.close_day(24 * HOUR_MS, &Truth::default());
        assert_eq!(desk.looked_up(), 5);
        assert!(drain(&mut desk, 24 * HOUR_MS - 1).is_empty());
        let known = drain(&mut desk, 25 * HOUR_MS);
        let of =
            |by: &str| known.iter().filter(|l| l["chosen_by"] == by).map(|l| l["event_id"].clone()).collect::<Vec<_>>();
        assert_eq!(of("alert"), ["e-0", "e-2"]);
        assert_eq!(of("random").len(), 3);
        assert!(known.iter().all(|l| l["verdict"] == "false_positive"), "what no label names is ordinary");
        let share = known.iter().find(|l| l["chosen_by"] == "random").unwrap()["probability"].as_f64().unwrap();
        assert!((share - 3.0 / 38.0).abs() < 1e-12, "{share}");
    }

    #[test]
    fn who_comes_first_does_not_show() {
        let pick = |order: &mut dyn Iterator<Item = u32>| {
            let mut desk = Desk::new(Reviews { per_day: 3, random: 5, delay_ms: 0 });
            order.for_each(|i| desk.take(candidate(i, i, i % 7, false)));
            desk.close_day(0, &Truth::default());
            let mut known: Vec<String> = drain(&mut desk, HOUR_MS).iter().map(|l| l["event_id"].to_string()).collect();
            known.sort();
            known
        };
        assert_eq!(pick(&mut (0..60)), pick(&mut (0..60).rev()));
    }
}
