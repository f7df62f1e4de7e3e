//! SplitMix64: a small seeded generator, the same on every machine.
//!
//! Deliberately absent: seeding from the environment, cryptographic strength.

/// A seeded stream of pseudo-random numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A stream for a seed and a purpose; different purposes give unrelated streams.
    pub fn new(seed: u64, purpose: u64) -> Rng {
        let mut rng = Rng(seed ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93));
        rng.bits();
        rng
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number in `[0, bound)`; 0 for a bound of 0. The bias is below 2^-32 for the bounds used here.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// `count` different numbers below `population` in random order; all of them when there are fewer.
    pub fn sample(&mut self, population: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..population).collect();
        let count = count.min(population);
        for i in 0..count {
            let j = i + self.below(population - i);
            all.swap(i, j);
        }
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_differ_and_repeat_with_the_seed() {
        let sample = Rng::new(1, 2).sample(1000, 256);
        let mut sorted = sample.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 256);
        assert_eq!(sample, Rng::new(1, 2).sample(1000, 256));
        assert_ne!(sample, Rng::new(1, 3).sample(1000, 256));
        assert_ne!(sample, Rng::new(2, 2).sample(1000, 256));
        assert_eq!(Rng::new(1, 2).sample(3, 10).len(), 3);
    }

    #[test]
    fn unit_is_even() {
        let mut rng = Rng::new(7, 0);
        let mean = (0..10_000).map(|_| rng.unit()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
