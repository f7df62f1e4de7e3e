//! From a raw score to -log10 p: which share of normal events is expected to be at least this unusual.
//!
//! Inside the data: the empirical share at a few knots, linear between them. Above the 99 % point: a generalised Pareto
//! tail. Beyond what so many rows can tell: doubt, the value rises ever more slowly to a bound. Always monotone.
//! Deliberately absent: which rows are used; that is for `ensemble` to choose (rows the members never saw).

/// Knots at most inside the data.
const KNOTS: usize = 48;
/// The tail starts at this share of the rows...
const TAIL_SHARE: f64 = 0.01;
/// ... or where so many rows are left, if that is more.
const TAIL_ROWS: f64 = 20.0;
/// The heaviest shape that is believed; a score's 20 rows of tail cannot prove more.
const MAX_SHAPE: f64 = 0.5;
/// Rows of tail at which an estimated shape counts half.
const SHAPE_DOUBT: f64 = 50.0;
/// -log10 p is trusted up to log10(rows) + this, ...
const TRUST: f64 = 0.5;
/// ... and approaches this much more beyond.
const DOUBT: f64 = 2.5;
/// The bound where no doubt applies (a tail known from theory).
pub const MAX_LOG_P: f64 = 15.0;
const LN_10: f64 = std::f64::consts::LN_10;

/// What is known about the tail before any data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prior {
    /// Nothing: shape and scale are estimated, and doubted beyond the data.
    None,
    /// -log10 p rises by this much per unit of score, as if so many rows of tail had been seen; no doubt beyond the data.
    Slope(f64, f64),
}

/// A monotone map from a raw score (larger is more unusual) to -log10 p.
#[derive(Clone, Debug, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct Calibrator {
    /// (raw score, -log10 p), both rising; the last one starts the tail.
    knots: Vec<(f64, f64)>,
    /// Generalised Pareto above the last knot.
    scale: f64,
    shape: f64,
    /// Where doubt begins, and how much more is possible.
    trust: f64,
    doubt: f64,
}

impl Default for Calibrator {
    /// Knows nothing: everything is ordinary.
    fn default() -> Calibrator {
        Calibrator { knots: vec![], scale: 1.0, shape: 0.0, trust: 0.0, doubt: 0.0 }
    }
}

impl Calibrator {
    /// Learns from scores of normal rows; sorts them in place.
    pub fn fit(scores: &mut [f64], prior: Prior) -> Calibrator {
        scores.sort_unstable_by(f64::total_cmp);
        let (Some(first), Some(last)) = (scores.first(), scores.last()) else { return Calibrator::default() };
        if !(first.is_finite() && last.is_finite()) {
            return Calibrator::default();
        }
        let rows = scores.len() as f64;
        let tail_share = TAIL_SHARE.max(TAIL_ROWS / rows).min(0.5);
        let knots = knots(scores, tail_share);
        let (start, level) = knots.last().copied().unwrap_or((*last, 0.0));
        let excess: Vec<f64> = scores.iter().map(|s| s - start).filter(|e| *e > 0.0).collect();
        let body = body_scale(&knots);
        let (scale, shape) = match prior {
            Prior::None => tail(&excess, body),
            Prior::Slope(slope, weight) => {
                let mean = (excess.iter().sum::<f64>() + weight / (slope * LN_10)) / (excess.len() as f64 + weight);
                (mean, 0.0)
            }
        };
        let (trust, doubt) = match prior {
            Prior::None => ((libm::log10(rows) + TRUST).max(level), DOUBT),
            Prior::Slope(..) => (MAX_LOG_P, 0.0),
        };
        Calibrator { knots, scale: scale.max(1e-9 * (1.0 + start.abs())), shape, trust, doubt }
    }

    /// -log10 of the share of normal rows expected at or above `score`; 0 for what is no number.
    pub fn log_p(&self, score: f64) -> f64 {
        let Some(&(start, level)) = self.knots.last() else { return 0.0 };
        if score >= start {
            let excess = (score - start) / self.scale;
            let nepers = if self.shape > 0.0 { libm::log1p(self.shape * excess) / self.shape } else { excess };
            return self.doubted(level + nepers / LN_10);
        }
        let next = self.knots.partition_point(|(s, _)| *s <= score);
        let (Some(before), Some(after)) = (next.checked_sub(1).and_then(|i| self.knots.get(i)), self.knots.get(next))
        else {
            return 0.0;
        };
        before.1 + (after.1 - before.1) * ((score - before.0) / (after.0 - before.0))
    }

    /// A saturating curve with slope 1 where doubt begins.
    fn doubted(&self, log_p: f64) -> f64 {
        let over = log_p - self.trust;
        if over <= 0.0 || log_p.is_nan() {
            return log_p.max(0.0);
        }
        if self.doubt <= 0.0 || over == f64::INFINITY {
            return self.trust + self.doubt;
        }
        self.trust + over * self.doubt / (over + self.doubt)
    }

    pub(crate) fn is_sound(&self) -> bool {
        let numbers = [self.scale, self.shape, self.trust, self.doubt];
        let rising = self.knots.windows(2).all(|w| matches!(w, [a, b] if a.0 < b.0 && a.1 <= b.1));
        let finite = self.knots.iter().all(|(s, l)| s.is_finite() && l.is_finite() && *l >= 0.0);
        rising && finite && numbers.iter().all(|v| v.is_finite()) && self.scale > 0.0 && self.shape >= 0.0
    }
}

/// Knots from the least score to the start of the tail, even in -log10 p with more where most rows are.
fn knots(sorted: &[f64], tail_share: f64) -> Vec<(f64, f64)> {
    let rows = sorted.len();
    let mut knots: Vec<(f64, f64)> = Vec::with_capacity(KNOTS);
    for k in 0..KNOTS {
        // Shares from 1 to the tail's: a third of the way even in p, the rest even in log p.
        let t = k as f64 / (KNOTS - 1) as f64;
        let share = libm::pow(tail_share, t * t);
        let rank = ((1.0 - share) * rows as f64) as usize;
        let Some(score) = sorted.get(rank.min(rows - 1)).copied() else { continue };
        if knots.last().is_some_and(|(last, _)| *last >= score) {
            continue;
        }
        // Ties count as "at least this unusual"; one more row than seen keeps p above zero.
        let at_least = rows - sorted.partition_point(|s| *s < score);
        knots.push((score, -libm::log10((at_least as f64 + 1.0).min(rows as f64) / rows as f64)));
    }
    knots
}

/// Scale of an exponential through the body: what the tail is taken for when it has no rows of its own.
fn body_scale(knots: &[(f64, f64)]) -> f64 {
    let middle = knots.get(knots.len() / 2);
    match (middle, knots.last()) {
        (Some(a), Some(b)) if b.1 > a.1 => (b.0 - a.0) / ((b.1 - a.1) * LN_10),
        _ => 0.0,
    }
}

/// Scale and shape of a generalised Pareto by probability-weighted moments, the shape shrunk to 0 and kept in bounds.
fn tail(excess: &[f64], body: f64) -> (f64, f64) {
    let count = excess.len() as f64;
    if excess.len() < 5 {
        let mean = excess.iter().sum::<f64>() / count.max(1.0);
        return (mean.max(body), 0.0);
    }
    let mean = excess.iter().sum::<f64>() / count;
    // Mean of x (1 - F(x)); `excess` is sorted.
    let weighted = excess.iter().enumerate().map(|(i, x)| x * (1.0 - (i as f64 + 0.65) / count)).sum::<f64>() / count;
    let shape = 2.0 - mean / (mean - 2.0 * weighted).max(1e-12 * mean);
    let shape = (-shape).max(shape).min(MAX_SHAPE) * f64::from(u8::from(shape > 0.0)) * count / (count + SHAPE_DOUBT);
    // The scale that keeps the mean, widened by its own uncertainty.
    (mean * (1.0 - shape) * (1.0 + 1.0 / count.sqrt()), shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    fn exponential(rng: &mut Rng) -> f64 {
        -libm::log(1.0 - rng.unit())
    }

    #[test]
    fn p_values_of_new_normal_rows_are_even() {
        let mut rng = Rng::new(1, 1);
        let mut train: Vec<f64> = (0..20_000).map(|_| exponential(&mut rng)).collect();
        let calibrator = Calibrator::fit(&mut train, Prior::None);
        let fresh: Vec<f64> = (0..200_000).map(|_| calibrator.log_p(exponential(&mut rng))).collect();
        for level in [0.3, 1.0, 2.0, 3.0, 4.0] {
            let share = fresh.iter().filter(|l| **l >= level).count() as f64 / fresh.len() as f64;
            let ratio = share / libm::pow(10.0, -level);
            // At 4 only 20 are expected, and the tail is meant to be taken a little too heavy.
            let least = if level < 4.0 { 0.7 } else { 0.3 };
            assert!((least..1.3).contains(&ratio), "level {level}: {ratio}");
        }
    }

    #[test]
    fn heavy_tails_are_not_called_impossible() {
        let mut rng = Rng::new(2, 1);
        let mut draw = || libm::pow(1.0 - rng.unit(), -0.5); // Pareto, shape 0.5
        let mut train: Vec<f64> = (0..20_000).map(|_| draw()).collect();
        let calibrator = Calibrator::fit(&mut train, Prior::None);
        let share = (0..200_000).filter(|_| calibrator.log_p(draw()) >= 4.0).count() as f64 / 200_000.0;
        assert!(share < 3e-4, "{share}");
    }

    #[test]
    fn ties_count_as_at_least() {
        let mut train: Vec<f64> = (0..1000).map(|i| f64::from(u8::from(i % 50 == 0))).collect();
        let calibrator = Calibrator::fit(&mut train, Prior::None);
        assert_eq!(calibrator.log_p(0.0), 0.0);
        assert!((calibrator.log_p(1.0) - 1.7).abs() < 0.05, "{}", calibrator.log_p(1.0));
        assert!(calibrator.log_p(2.0) > 2.0);
    }

    #[test]
    fn a_prior_slope_holds_where_there_is_no_tail() {
        let mut rng = Rng::new(3, 1);
        let mut train: Vec<f64> = (0..300).map(|_| exponential(&mut rng) / LN_10 / 2.0).collect();
        let calibrator = Calibrator::fit(&mut train, Prior::Slope(2.0, 200.0));
        assert!((calibrator.log_p(4.0) - 8.0).abs() < 1.2, "{}", calibrator.log_p(4.0));
        assert_eq!(calibrator.log_p(1e300), MAX_LOG_P);
    }

    proptest! {
        #[test]
        fn monotone_bounded_and_total(mut train in prop::collection::vec(-1e3f64..1e3, 0..300), mut probe in prop::collection::vec(any::<f64>(), 2..40)) {
            let calibrator = Calibrator::fit(&mut train, Prior::None);
            prop_assert!(calibrator.is_sound());
            probe.extend(&train);
            probe.retain(|p| !p.is_nan());
            probe.sort_unstable_by(f64::total_cmp);
            let levels: Vec<f64> = probe.iter().map(|p| calibrator.log_p(*p)).collect();
            prop_assert!(levels.windows(2).all(|w| w[0] <= w[1] + 1e-12), "{levels:?}");
            prop_assert!(levels.iter().all(|l| (0.0..MAX_LOG_P).contains(l)));
            prop_assert_eq!(calibrator.log_p(f64::NAN), 0.0);
        }
    }
}
