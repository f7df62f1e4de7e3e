//! Joins what model, rules and labels say of one event: L = sum of weight x -log10 p, then the p-value of L.
//!
//! Deliberately absent: thresholds (`quantile`), and how rules come to their p-value.

use crate::calibrate::{Calibrator, Prior};

/// -log10 p of a score of 1: one in a million.
pub const LOG_P_OF_ONE: f64 = 6.0;
/// Rows of tail that the theory of L counts for (see [`fit`]).
const PRIOR_ROWS: f64 = 200.0;

/// Weights of the three parts; they add to 1 and change only with a promoted model.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize, bitcode::Encode, bitcode::Decode)]
pub struct Weights {
    /// The unsupervised ensemble.
    pub model: f64,
    /// The rules.
    pub rules: f64,
    /// The ranking learned from labels.
    pub supervised: f64,
}

impl Default for Weights {
    /// Precision first: half rules, nothing learned yet.
    fn default() -> Weights {
        Weights { model: 0.5, rules: 0.5, supervised: 0.0 }
    }
}

impl Weights {
    /// L of the parts' -log10 p; a part without a say adds nothing.
    pub fn sum(&self, base: f64, rules: Option<f64>, supervised: Option<f64>) -> f64 {
        self.model * base + self.rules * rules.unwrap_or(0.0) + self.supervised * supervised.unwrap_or(0.0)
    }

    /// Finite, not negative, adding to 1?
    pub fn is_sound(&self) -> bool {
        let all = [self.model, self.rules, self.supervised];
        all.iter().all(|w| w.is_finite() && *w >= 0.0) && (all.iter().sum::<f64>() - 1.0).abs() < 1e-9
    }
}

/// Score of a -log10 p: in [0, 1], 0.5 is one in a thousand, 1 one in a million.
pub fn score(log_p: f64) -> f64 {
    (log_p / LOG_P_OF_ONE).clamp(0.0, 1.0)
}

/// p-value of a -log10 p.
pub fn p_value(log_p: f64) -> f64 {
    libm::exp10(-log_p.max(0.0))
}

/// -log10 p of a p-value; values outside (0, 1] are cut.
pub fn log_p(p_value: f64) -> f64 {
    -libm::log10(p_value.clamp(1e-300, 1.0))
}

/// Calibrates L on the training slice. `L` of the model alone is weight x -log10 of an even p, so p falls by ten for each
/// `weight` of L: that is known beforehand and steadies the tail, which rule hits reach far beyond any training row.
pub fn fit(weights: &Weights, sums: &mut [f64]) -> Calibrator {
    let leading = weights.model.max(weights.supervised).max(1e-3);
    Calibrator::fit(sums, Prior::Slope(1.0 / leading, PRIOR_ROWS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn the_model_alone_keeps_its_p_and_rules_add() {
        let weights = Weights::default();
        let mut rng = Rng::new(4, 4);
        let mut sums: Vec<f64> = (0..5000).map(|_| weights.sum(log_p(1.0 - rng.unit()), None, None)).collect();
        let calibrator = fit(&weights, &mut sums);
        for base in [0.5, 1.0, 2.0, 3.0, 5.0] {
            let combined = calibrator.log_p(weights.sum(base, None, None));
            assert!((combined - base).abs() < 0.15 + base * 0.08, "{base} {combined}");
            assert!(calibrator.log_p(weights.sum(base, Some(3.0), None)) > combined + 2.0);
        }
    }

    #[test]
    fn scale_of_scores() {
        assert_eq!((score(3.0), score(6.0), score(9.0), score(-1.0)), (0.5, 1.0, 1.0, 0.0));
        assert!((p_value(3.0) - 1e-3).abs() < 1e-12 && (log_p(1e-3) - 3.0).abs() < 1e-12);
        assert!(Weights::default().is_sound() && !Weights { model: 0.7, ..Weights::default() }.is_sound());
    }
}
