//! The catalogue: a few goods that everybody buys and a long tail, each with a category and a steady price.
//!
//! Product `n` is the n-th most popular: weight 1 / (n + 8). Deliberately absent: stock.

use super::rng::{Rng, mix, place, unit};
use super::words::CATEGORIES;

/// Milliseconds of four weeks: how long a list price stands.
const PRICE_PERIOD_MS: i64 = 28 * 86_400_000;
/// Share of the goods whose list price is moved in a period.
const PRICE_MOVED_SHARE: f64 = 0.05;

/// All goods.
pub(super) struct Catalogue {
    seed: u64,
    prices_minor: Vec<i64>,
    categories: Vec<u8>,
    popularity: Vec<f64>,
    by_category: Vec<(Vec<u32>, Vec<f64>)>,
}

impl Catalogue {
    /// `products` goods, at least one for each category.
    pub fn new(seed: u64, products: u32) -> Catalogue {
        let products = products.max(CATEGORIES.len() as u32);
        let mut catalogue = Catalogue {
            seed,
            prices_minor: Vec::new(),
            categories: Vec::new(),
            popularity: Vec::new(),
            by_category: vec![(Vec::new(), Vec::new()); CATEGORIES.len()],
        };
        let mut total = 0.0;
        let mut rng = Rng::new(seed, 0xca7a_1090);
        for product in 0..products {
            // The first goods go through the categories in turn, so that none is empty.
            let category = if (product as usize) < CATEGORIES.len() {
                product as usize
            } else {
                rng.below(CATEGORIES.len() as u64) as usize
            };
            let median = CATEGORIES.get(category).map_or(2000.0, |c| c.1);
            let euros = (rng.lognormal(median, 0.55) / 100.0) as i64;
            let cents = *rng.pick(&[99, 95, 90, 0, 49]).unwrap_or(&99);
            let weight = 1.0 / (f64::from(product) + 8.0);
            total += weight;
            catalogue.prices_minor.push((euros.max(1)) * 100 + cents);
            catalogue.categories.push(category as u8);
            catalogue.popularity.push(total);
            if let Some((members, sums)) = catalogue.by_category.get_mut(category) {
                members.push(product);
                sums.push(sums.last().copied().unwrap_or_default() + weight);
            }
        }
        catalogue
    }

    /// Number of goods.
    pub fn len(&self) -> u32 {
        self.prices_minor.len() as u32
    }

    /// Place of the product's category in the list of categories.
    pub fn category(&self, product: u32) -> u8 {
        self.categories.get(product as usize).copied().unwrap_or_default()
    }

    /// List price at a time, minor units.
    pub fn price_minor(&self, product: u32, at_ms: i64) -> i64 {
        let list = self.prices_minor.get(product as usize).copied().unwrap_or(1999);
        let bits = mix(mix(self.seed, u64::from(product)), at_ms.div_euclid(PRICE_PERIOD_MS) as u64);
        if unit(bits) >= PRICE_MOVED_SHARE {
            return list;
        }
        (list * if bits & 1 == 0 { 92 } else { 108 } / 100).max(1)
    }

    /// By popularity.
    pub fn popular(&self, rng: &mut Rng) -> u32 {
        place(&self.popularity, rng.unit()) as u32
    }

    /// By popularity within a category.
    pub fn popular_in(&self, category: u8, rng: &mut Rng) -> u32 {
        match self.by_category.get(usize::from(category)) {
            Some((members, sums)) => members.get(place(sums, rng.unit())).copied().unwrap_or_default(),
            None => self.popular(rng),
        }
    }

    /// Something dear: the dearest of a few draws.
    pub fn dear(&self, draws: u32, rng: &mut Rng) -> u32 {
        (0..draws.max(1))
            .map(|_| self.popular(rng))
            .max_by_key(|&p| self.prices_minor.get(p as usize).copied().unwrap_or_default())
            .unwrap_or_default()
    }
}
