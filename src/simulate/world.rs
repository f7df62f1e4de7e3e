//! The shop as it stands: catalogue, customers by country, tills; and the numbers it has given out.
//!
//! Deliberately absent: time.

use super::catalogue::Catalogue;
use super::config::{ConfigError, MAX_CUSTOMERS, ShopConfig};
use super::geo::COUNTRIES;
use super::people::Person;
use super::rng::{Rng, mix};

/// Visits of a customer in 30 days, on average, where the number of customers is not given.
const VISITS_PER_MONTH: f64 = 2.0;
/// Share of the visits that are a customer's first.
const NEW_CUSTOMER_SHARE: f64 = 0.03;
/// Tills.
pub(super) const TERMINALS: u64 = 40;
/// Number of the first till.
pub(super) const FIRST_TERMINAL: u32 = 3001;

/// What does not change.
pub(super) struct World {
    pub config: ShopConfig,
    pub catalogue: Catalogue,
    /// Places of the countries with their share of the visits.
    pub shares: Vec<(u8, f64)>,
    customers: Vec<u64>,
}

/// Numbers given out so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub sessions: u64,
    pub orders: u64,
    pub payments: u64,
    /// New customers by country.
    pub joined: Vec<u64>,
}

impl Counters {
    /// None given out.
    pub fn new() -> Counters {
        Counters { joined: vec![0; COUNTRIES.len()], ..Counters::default() }
    }
}

impl World {
    /// `visits_per_minute` sets the number of customers where the configuration leaves it open.
    pub fn new(config: ShopConfig, visits_per_minute: f64) -> Result<World, ConfigError> {
        let shares = config.shares()?;
        let wanted = match config.customers {
            0 => visits_per_minute * 60.0 * 24.0 * 30.0 / VISITS_PER_MONTH,
            given => given as f64,
        };
        let total = wanted.clamp(200.0, MAX_CUSTOMERS as f64);
        let mut customers = vec![(total * 0.02) as u64 + 1; COUNTRIES.len()];
        for (country, share) in &shares {
            if let Some(place) = customers.get_mut(usize::from(*country)) {
                *place = (total * share) as u64 + 10;
            }
        }
        let catalogue = Catalogue::new(config.seed, config.products);
        Ok(World { config, catalogue, shares, customers })
    }

    /// The country with the largest share: it has the branches, and new trouble starts there.
    pub fn main_country(&self) -> u8 {
        let largest = self.shares.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        largest.map(|(country, _)| *country).unwrap_or_default()
    }

    fn customers_of(&self, country: u8) -> u64 {
        self.customers.get(usize::from(country)).copied().unwrap_or(1)
    }

    /// A visitor of a country: `true` when it is the first visit.
    pub fn visitor(&self, country: u8, counters: &mut Counters, rng: &mut Rng) -> (Person, bool) {
        let known = self.customers_of(country);
        let joined = counters.joined.get_mut(usize::from(country));
        let fresh = joined.as_ref().map_or(0, |joined| **joined);
        if rng.chance(NEW_CUSTOMER_SHARE) {
            if let Some(joined) = joined {
                *joined += 1;
            }
            return (Person::new(self.config.seed, country, known + fresh), true);
        }
        // Those who joined come back as often as the average of the others.
        if fresh > 0 && rng.chance(fresh as f64 / (fresh + known) as f64) {
            return (Person::new(self.config.seed, country, known + rng.below(fresh)), false);
        }
        (Person::draw(self.config.seed, country, known, rng), false)
    }

    /// A customer who comes often: worth a takeover.
    pub fn regular(&self, country: u8, rng: &mut Rng) -> Person {
        let frequent = (self.customers_of(country) / 50).max(3);
        Person::new(self.config.seed, country, rng.below(frequent))
    }

    /// Somebody nobody has seen: numbers far above all customers.
    pub fn stranger(&self, country: u8, rng: &mut Rng) -> Person {
        Person::new(self.config.seed, country, 3 * MAX_CUSTOMERS + rng.below(MAX_CUSTOMERS))
    }

    /// One of the tills.
    pub fn terminal(&self, rng: &mut Rng) -> u32 {
        FIRST_TERMINAL + rng.below(TERMINALS) as u32
    }

    /// Tells this run's ids from those of runs with another seed or start.
    pub fn run(&self) -> u64 {
        mix(self.config.seed, self.config.start_ms as u64)
    }
}
