//! How unlikely a count is: Chernoff bounds, in decades (-log10 p).
//!
//! A Chernoff bound is never below the true tail probability, for any size of count, and needs nothing but logarithms:
//! a threshold of 6 decades is at least as strict as one in a million. Deliberately absent: normal approximations, which
//! err on the loose side for small counts.

use std::f64::consts::LN_10;

/// x ln(x / y), 0 for x = 0.
fn xlogy(x: f64, y: f64) -> f64 {
    if x > 0.0 { x * libm::log(x / y) } else { 0.0 }
}

/// Decades by which `seen` lies in the tail of a count with mean `mean` whose own mean varies by the share `spread`
/// (a negative binomial: variance = mean + (spread x mean)^2). `unit` is the clump size: a sum whose variance is
/// `unit` x its mean behaves like a count of sum / unit. Both tails: the caller looks at the side.
pub fn count(seen: f64, mean: f64, unit: f64, spread: f64) -> f64 {
    let (x, m) = (seen.max(0.0) / unit, mean / unit);
    if !(m > 0.0 && x.is_finite()) {
        return 0.0;
    }
    let r = 1.0 / (spread * spread).max(1e-9);
    let nats = xlogy(x, m) - (x + r) * libm::log((x + r) / (m + r));
    (nats / LN_10).max(0.0)
}

/// Decades by which `k` successes of `n` lie in the upper tail when each has probability `p`; 0 when `k` is not above.
pub fn binomial(k: f64, n: f64, p: f64) -> f64 {
    if n <= 0.0 || k <= n * p {
        return 0.0;
    }
    let p = p.clamp(1e-6, 1.0 - 1e-6);
    ((xlogy(k, n * p) + xlogy(n - k, n * (1.0 - p))) / LN_10).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P(X <= x) of a Poisson count, summed up.
    fn poisson_low(x: u32, mean: f64) -> f64 {
        let (mut term, mut sum) = (libm::exp(-mean), 0.0);
        for i in 0..=x {
            sum += term;
            term *= mean / f64::from(i + 1);
        }
        sum
    }

    #[test]
    fn bounds_hold_and_are_not_far_off() {
        for (x, mean) in [(0u32, 5.0), (3, 20.0), (10, 40.0), (90, 150.0)] {
            let exact = -libm::log10(poisson_low(x, mean));
            let bound = count(f64::from(x), mean, 1.0, 0.0);
            assert!(bound <= exact + 1e-3 && bound > exact - 2.0, "{x} of {mean}: {bound} {exact}");
        }
        assert!((binomial(5.0, 5.0, 0.01) - 10.0).abs() < 1e-9);
        assert_eq!(binomial(1.0, 100.0, 0.05), 0.0);
    }

    #[test]
    fn spread_and_clumps_weaken_evidence() {
        let plain = count(60.0, 120.0, 1.0, 0.0);
        assert!(count(60.0, 120.0, 1.0, 0.1) < plain && count(60.0, 120.0, 2.0, 0.0) < plain);
    }
}
