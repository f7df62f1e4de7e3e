//! How a rule turns an excess into a surprise, -log10 of a p-value.
//!
//! Rules have no training data of their own. Counts and ratios in shops have heavy tails, so a Pareto tail is assumed
//! through one point that the configuration gives: at the threshold the surprise is `at`; each doubling beyond makes the
//! event ten times rarer and adds 1. Deviations in units of an entity's own spread have an exponential tail: each two
//! units beyond the threshold add 1. Above [`CAP`] no rule claims anything. Deliberately absent: learning.

/// Largest surprise of a rule: one in a million, the end of the score's scale.
pub const CAP: f64 = 6.0;

/// Surprise of a count or ratio that has reached its threshold (both positive).
pub fn excess(value: f64, threshold: f64, at: f64) -> f64 {
    (at + libm::log2((value / threshold).max(1.0))).min(CAP)
}

/// Surprise of a deviation in units of the usual spread that has reached its threshold.
pub fn deviation(units: f64, threshold: f64, at: f64) -> f64 {
    (at + (units.abs() - threshold).max(0.0) / 2.0).min(CAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_excess_is_more_surprising_up_to_the_cap() {
        assert_eq!(excess(10.0, 10.0, 3.0), 3.0);
        assert_eq!(excess(20.0, 10.0, 3.0), 4.0);
        assert_eq!(excess(1e9, 10.0, 3.0), CAP);
        assert_eq!(deviation(-6.0, 4.0, 2.0), 3.0);
        assert_eq!(deviation(1e9, 4.0, 2.0), CAP);
    }
}
