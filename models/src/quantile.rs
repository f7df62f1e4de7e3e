//! Keeps the threshold where the alert budget is met: an online quantile of the scores, fed by counts per hour.
//!
//! q += eta (1[s >= q] - alpha), summed over an hour's events: alerts over weeks then differ from the budget by no more
//! than the way q has moved, over eta. An attack is thousands of events and must not buy itself a higher threshold: an
//! hour that bursts lifts q by two alerts only, and for the rest a surcharge that is small and falls by a tenth each hour.
//! All stays near the weekly value.
//! Counts are whole numbers by bins of 1/600 of score, so the order of the events and the number of workers do not matter.
//! Leave out of the counts what is confirmed anomalous, and count one entity once an hour.
//! Deliberately absent: clocks and budget shares; the caller says which hour is over and which budget a group has.

/// Bins of a score: 1/600 each, the last one for a score of 1.
pub const BINS: usize = 601;
/// Threshold before any data: p = 1 in 4,000. With few events a day nearly silent; rules speak meanwhile.
pub const START: f64 = 0.6;
/// Alerts a day by default, over all groups.
pub const BUDGET_PER_DAY: f64 = 20.0;
/// Steps of the weekly threshold stay this close: 0.15 of score are a factor of 8 in p.
pub const MAX_DISTANCE: f64 = 0.15;
/// Calibration events needed for each expected alert to know the rate to +-20 %.
pub const EVENTS_PER_ALERT: f64 = 25.0;
/// No group alerts on more than this share of its events, however few they are.
const MAX_RATE: f64 = 0.05;
/// Step for one alert too many, with up to 24 alerts a day; less in proportion with more, or it would swing.
const ETA: f64 = 0.005;
/// An hour bursts when it has more alerts than this and three times the expected ones.
const BURST: f64 = 4.0;
/// What a burst counts for in the quantile: a lasting change is still followed, hour by hour.
const BURST_ALERTS: f64 = 2.0;
/// Surcharge for each hour that bursts, its bound, and what is left of it after an hour.
const SURCHARGE: f64 = 0.005;
const MAX_SURCHARGE: f64 = 0.03;
const SURCHARGE_KEPT: f64 = 0.9;
/// Hours of a day.
const HOURS: f64 = 24.0;

/// The bin of a score.
pub fn bin(score: f64) -> usize {
    // The nudge puts every k/600 into bin k, whatever the rounding of the division was.
    ((score.clamp(0.0, 1.0) * 600.0 + 1e-9) as usize).min(BINS - 1)
}

/// What a group may alert, and how busy it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Alerts a day.
    pub budget_per_day: f64,
    /// Events a day, observed.
    pub events_per_day: f64,
}

impl Target {
    /// Share of events that may alert; nothing before any events were seen.
    pub fn rate(&self) -> Option<f64> {
        let rate = self.budget_per_day / self.events_per_day;
        (rate.is_finite() && rate > 0.0).then(|| rate.min(MAX_RATE))
    }
}

/// A threshold from counts, and how far it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// Least score that alerts.
    pub threshold: f64,
    /// Events it was taken from.
    pub events: u64,
    /// Were there 25 events for each expected alert? If not, show the count and no rate.
    pub enough: bool,
}

/// Conformal threshold from the counts of the last weeks (28 days by default), confirmed anomalies left out: the least
/// one at which (events at or above + 1) / (events + 1) keeps the rate. Where so few events cannot tell, what the
/// calibrated score itself promises; without any target [`START`].
pub fn conformal(counts: &[u64], target: Target) -> Start {
    let events: u64 = counts.iter().sum();
    let Some(rate) = target.rate() else { return Start { threshold: START, events, enough: false } };
    let promised = crate::combine::score(crate::combine::log_p(rate));
    let mut above = 0;
    let mut least = None;
    for (number, count) in counts.iter().enumerate().take(BINS).rev() {
        above += count;
        if (above + 1) as f64 / (events + 1) as f64 > rate {
            break;
        }
        least = Some(number);
    }
    let enough = events as f64 * rate >= EVENTS_PER_ALERT;
    let threshold = match least {
        Some(number) if enough => number as f64 / 600.0,
        // Too few to overrule the calibration downwards.
        Some(number) => (number as f64 / 600.0).max(promised),
        // Even the last bin holds too many; or one event more would already be too much.
        None if enough => 1.0,
        None => promised.max(START),
    };
    Start { threshold, events, enough }
}

/// The hourly tracker of one group.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize, bitcode::Encode, bitcode::Decode)]
pub struct Tracker {
    /// Not rounded.
    quantile: f64,
    /// What it stays near.
    weekly: f64,
    /// On top of the quantile, after a burst.
    surcharge: f64,
}

impl Default for Tracker {
    fn default() -> Tracker {
        Tracker::new(START)
    }
}

impl Tracker {
    /// Starts at a weekly value.
    pub fn new(weekly: f64) -> Tracker {
        let weekly = if weekly.is_nan() { START } else { weekly.clamp(0.0, 1.0) };
        Tracker { quantile: weekly, weekly, surcharge: 0.0 }
    }

    /// A new week: the anchor moves, the threshold only as far as it must.
    pub fn weekly(&mut self, weekly: f64) -> f64 {
        self.weekly = Tracker::new(weekly).weekly;
        self.bound();
        self.threshold()
    }

    /// The value in force: quantile and surcharge rounded up to a bin's edge, so that counts and decisions agree.
    pub fn threshold(&self) -> f64 {
        self.threshold_bin() as f64 / 600.0
    }

    fn threshold_bin(&self) -> usize {
        (libm::ceil((self.quantile + self.surcharge) * 600.0 - 1e-9) as usize).min(BINS - 1)
    }

    /// Takes in the counts by [`bin`] of an hour of event time; returns the threshold for the next.
    pub fn hour(&mut self, counts: &[u32], target: Target) -> f64 {
        let Some(rate) = target.rate() else { return self.threshold() };
        let seen: u64 = counts.iter().map(|c| u64::from(*c)).sum();
        let above: u64 = counts.iter().skip(self.threshold_bin()).map(|c| u64::from(*c)).sum();
        let expected = rate * seen as f64;
        let eta = ETA / (target.budget_per_day / HOURS).max(1.0);
        let excess = above as f64 - expected;
        self.surcharge *= SURCHARGE_KEPT;
        if above as f64 > BURST + 3.0 * expected {
            self.surcharge = (self.surcharge + SURCHARGE).min(MAX_SURCHARGE);
            self.quantile += eta * excess.min(BURST_ALERTS);
        } else {
            self.quantile += eta * excess;
        }
        self.bound();
        self.threshold()
    }

    fn bound(&mut self) {
        let (low, high) = ((self.weekly - MAX_DISTANCE).max(0.0), (self.weekly + MAX_DISTANCE).min(1.0));
        self.quantile = self.quantile.clamp(low, high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::combine::{log_p, score};
    use crate::rng::Rng;
    use proptest::prelude::*;

    /// An hour of normal events whose p-values are off by a factor.
    fn hour(rng: &mut Rng, events: usize, off: f64) -> Vec<u32> {
        let mut counts = vec![0; BINS];
        for _ in 0..events {
            counts[bin(score(log_p(off * (1.0 - rng.unit()))))] += 1;
        }
        counts
    }

    #[test]
    fn weeks_meet_the_budget_though_calibration_drifts() {
        let mut rng = Rng::new(1, 1);
        let target = Target { budget_per_day: 20.0, events_per_day: 4800.0 };
        let mut tracker = Tracker::default();
        let (mut good, mut sum) = (0, 0u64);
        for week in 0..40 {
            let off = if week % 8 < 4 { 0.6 } else { 1.7 };
            let (mut alerts, mut month) = (0u64, vec![0u64; BINS]);
            for _ in 0..168 {
                let counts = hour(&mut rng, 200, off);
                alerts += counts.iter().skip(bin(tracker.threshold())).map(|c| u64::from(*c)).sum::<u64>();
                month.iter_mut().zip(&counts).for_each(|(m, c)| *m += u64::from(*c));
                tracker.hour(&counts, target);
            }
            tracker.weekly(conformal(&month, target).threshold);
            if week >= 2 {
                good += u32::from((94..=210).contains(&alerts));
                sum += alerts;
            }
        }
        assert!(good >= 37, "{good} of 38 weeks within a factor of 1.5");
        let mean = sum as f64 / 38.0;
        assert!((mean / 140.0 - 1.0).abs() < 0.12, "{mean} alerts a week for a budget of 140");
    }

    #[test]
    fn an_attack_lifts_little_and_is_forgotten() {
        let mut rng = Rng::new(2, 1);
        let target = Target { budget_per_day: 20.0, events_per_day: 4800.0 };
        let mut tracker = Tracker::new(0.4);
        let mut attack = hour(&mut rng, 200, 1.0);
        attack[550] += 3000;
        (0..6).for_each(|_| _ = tracker.hour(&attack, target));
        assert!(tracker.threshold() <= 0.4 + 6.0 * BURST_ALERTS * ETA + MAX_SURCHARGE + 0.002);
        (0..24).for_each(|_| _ = tracker.hour(&hour(&mut rng, 200, 1.0), target));
        assert!(tracker.threshold() < 0.42, "{}", tracker.threshold());
    }

    #[test]
    fn conformal_start() {
        let target = Target { budget_per_day: 10.0, events_per_day: 1000.0 };
        let mut counts = vec![0u64; BINS];
        counts[100] = 27_000;
        counts[300] = 800;
        counts[500] = 200;
        let start = conformal(&counts, target);
        assert_eq!((start.events, start.enough), (28_000, true));
        assert_eq!(bin(start.threshold), 301);
        assert_eq!(conformal(&[], target).threshold, START);
        let few = conformal(&[1000], Target { budget_per_day: 1.0, events_per_day: 500.0 });
        assert!(!few.enough && few.threshold >= 0.44, "{few:?}");
        assert_eq!(conformal(&counts, Target { events_per_day: 0.0, ..target }).threshold, START);
    }

    #[test]
    fn every_edge_is_in_its_bin() {
        (0..BINS).for_each(|k| assert_eq!(bin(k as f64 / 600.0), k));
        assert_eq!((bin(-1.0), bin(2.0), bin(f64::NAN)), (0, 600, 0));
    }

    proptest! {
        #[test]
        fn stays_near_the_week(weekly in 0f64..1.0, hours in prop::collection::vec((0usize..BINS, 0u32..100_000), 0..100)) {
            let mut tracker = Tracker::new(weekly);
            let target = Target { budget_per_day: 20.0, events_per_day: 5000.0 };
            for (at, count) in hours {
                let mut counts = vec![0; BINS];
                counts[at] = count;
                let threshold = tracker.hour(&counts, target);
                prop_assert!((threshold - weekly).abs() <= MAX_DISTANCE + MAX_SURCHARGE + 1.0 / 600.0 && (0.0..=1.0).contains(&threshold));
            }
        }
    }
}
