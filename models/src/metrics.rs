//! How well a score ranks: area under the ROC curve and average precision, exact for any number of ties.
//!
//! Both follow from how many events are trouble, and how many are not, at each value of the score, so nothing but these
//! counts is kept. Scores have six decimals (contract 3): a million values at most, however many the events.
//! Deliberately absent: intervals, thresholds, and what counts as trouble.

use std::collections::BTreeMap;

/// Values of a score: six decimals.
const SCALE: f64 = 1e6;

/// Counts of events by score.
#[derive(Clone, Debug, Default)]
pub struct Ranking {
    /// Score in millionths -> events that are trouble, events that are not.
    counts: BTreeMap<u32, (u64, u64)>,
    positives: u64,
    negatives: u64,
}

impl Ranking {
    /// Takes in an event; its score is taken to six decimals.
    pub fn add(&mut self, score: f64, positive: bool) {
        let at = self.counts.entry((score.clamp(0.0, 1.0) * SCALE).round() as u32).or_default();
        if positive {
            at.0 += 1;
            self.positives += 1;
        } else {
            at.1 += 1;
            self.negatives += 1;
        }
    }
    /// Events that are trouble.
    pub fn positives(&self) -> u64 {
        self.positives
    }
    /// All events.
    pub fn events(&self) -> u64 {
        self.positives + self.negatives
    }
    /// Probability that an event that is trouble scores above one that is not, ties by half. `None` without both.
    pub fn auroc(&self) -> Option<f64> {
        let (mut below, mut twice) = (0u64, 0u128);
        for (positive, negative) in self.counts.values() {
            twice += u128::from(*positive) * u128::from(2 * below + negative);
            below += negative;
        }
        let pairs = u128::from(self.positives) * u128::from(self.negatives);
        (pairs > 0).then(|| twice as f64 / (2.0 * pairs as f64))
    }
    /// Sum over the values of the score, the highest first, of precision there times the recall won there. `None` without
    /// any trouble.
    pub fn average_precision(&self) -> Option<f64> {
        let (mut above, mut found, mut sum) = (0u64, 0u64, 0.0);
        for (positive, negative) in self.counts.values().rev() {
            above += positive + negative;
            found += positive;
            sum += *positive as f64 * (found as f64 / above as f64);
        }
        (self.positives > 0).then(|| sum / self.positives as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranking(events: &[(u32, bool)]) -> Ranking {
        let mut ranking = Ranking::default();
        events.iter().for_each(|(score, positive)| ranking.add(f64::from(*score) / SCALE, *positive));
        ranking
    }

    /// By the definitions, over all pairs and all thresholds.
    fn by_hand(events: &[(u32, bool)]) -> (f64, f64) {
        let of = |wanted: bool| events.iter().filter(move |e| e.1 == wanted).map(|e| e.0);
        let (positives, negatives) = (of(true).count() as f64, of(false).count() as f64);
        let wins = of(true).flat_map(|p| {
            of(false).map(move |n| {
                if p > n {
                    1.0
                } else if p == n {
                    0.5
                } else {
                    0.0
                }
            })
        });
        let auroc = wins.sum::<f64>() / (positives * negatives);
        let mut thresholds: Vec<u32> = events.iter().map(|e| e.0).collect();
        thresholds.sort_unstable();
        thresholds.dedup();
        let (mut precision, mut recall) = (0.0, 0.0);
        for t in thresholds.into_iter().rev() {
            let found = of(true).filter(|s| *s >= t).count() as f64;
            let above = events.iter().filter(|e| e.0 >= t).count() as f64;
            precision += (found / positives - recall) * (found / above);
            recall = found / positives;
        }
        (auroc, precision)
    }

    proptest! {
        #[test]
        fn agrees_with_the_definitions(
            events in prop::collection::vec((0u32..40, any::<bool>()), 2..80)
                .prop_filter("both kinds", |all| all.iter().any(|e| e.1) && !all.iter().all(|e| e.1))
        ) {
            let (auroc, precision) = by_hand(&events);
            let ranking = ranking(&events);
            prop_assert!((ranking.auroc().unwrap() - auroc).abs() < 1e-12);
            prop_assert!((ranking.average_precision().unwrap() - precision).abs() < 1e-12);
        }
    }

    #[test]
    fn without_trouble_there_is_nothing_to_say() {
        assert_eq!((ranking(&[(1, false)]).auroc(), ranking(&[(1, false)]).average_precision()), (None, None));
        assert_eq!(ranking(&[(1, true)]).auroc(), None);
        assert_eq!(ranking(&[(1, true)]).average_precision(), Some(1.0));
    }
}
