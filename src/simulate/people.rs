//! Customers: everything about a customer is a function of seed and number, so that millions cost no memory.
//!
//! Customers of a country have numbers 0, 1, 2, ...; low ones come often: visits fall off as (number + n / 200)^-0.55.
//! Deliberately absent: history; what a customer did is in the events.

use super::geo;
use super::rng::{Rng, mix, unit};
use super::words::{APPS, BROWSERS, CATEGORIES};

/// Visits of the first k customers grow with k to this power, beyond the first few.
const VISIT_POWER: f64 = 0.45;
/// The n-th part of the customers, and so many more, come about equally often: nobody comes every hour.
const EQUALLY_KEEN: (f64, f64) = (200.0, 10.0);
/// How long a home keeps its address, ms.
const HOME_ADDRESS_MS: i64 = 9 * 86_400_000;

/// A customer as the shop knows him.
#[derive(Clone, Copy, Debug)]
pub(super) struct Person {
    /// Number over all countries, from 1.
    pub id: u64,
    /// Home country.
    pub country: u8,
    /// Hash of the e-mail address.
    pub email: u64,
    /// Multiplies the appetite for dear goods: 0.4 to 4.
    pub spending: f64,
    /// Favourite categories.
    pub favourites: [u8; 2],
    /// Probability that a payment is declined.
    pub decline: f64,
    /// Multiplies the share of orders sent back.
    pub returns: f64,
    /// Uses the app.
    pub app: bool,
    traits: u64,
}

impl Person {
    /// Customer `number` of a country.
    pub fn new(seed: u64, country: u8, number: u64) -> Person {
        let id = number * 32 + u64::from(country) + 1;
        let traits = mix(mix(seed, 0x9e09_1e00), id);
        let mut rng = Rng::new(traits, 1);
        Person {
            id,
            country,
            email: rng.bits() | 1,
            spending: rng.lognormal(1.0, 0.5).clamp(0.4, 4.0),
            favourites: [rng.below(CATEGORIES.len() as u64) as u8, rng.below(CATEGORIES.len() as u64) as u8],
            decline: (0.035 * rng.lognormal(1.0, 0.8)).clamp(0.005, 0.35),
            returns: rng.lognormal(1.0, 0.6).clamp(0.1, 3.0),
            app: rng.chance(0.35),
            traits,
        }
    }

    /// Draws a customer of a country with `customers` of them.
    pub fn draw(seed: u64, country: u8, customers: u64, rng: &mut Rng) -> Person {
        let all = customers.max(1) as f64;
        let keen = all / EQUALLY_KEEN.0 + EQUALLY_KEEN.1;
        let (low, high) = (libm::pow(keen, VISIT_POWER), libm::pow(all + keen, VISIT_POWER));
        let place = libm::pow(rng.range(low, high), 1.0 / VISIT_POWER) - keen;
        Person::new(seed, country, (place.max(0.0) as u64).min(customers.max(1) - 1))
    }

    /// The device used now and its user agent: mostly the first of one to three, now and then a new one.
    pub fn device(&self, app: bool, rng: &mut Rng) -> (u64, u8) {
        let own = 1 + self.traits % 3;
        let which = if rng.chance(0.006) {
            1000 + rng.below(1 << 30)
        } else if rng.chance(0.8) {
            0
        } else {
            rng.below(own)
        };
        let device = mix(self.traits, (which << 1) | u64::from(app)) | 1;
        let agent = if app { APPS[(device >> 8) as usize & 1] } else { ((device >> 8) % BROWSERS) as u8 };
        (device, agent)
    }

    /// The address used now: at home, on the move, at work, rarely abroad.
    pub fn address(&self, at_ms: i64, rng: &mut Rng) -> u32 {
        let home = mix(self.traits, at_ms.div_euclid(HOME_ADDRESS_MS) as u64);
        match rng.unit() {
            u if u < 0.70 => geo::address(self.country, home),
            u if u < 0.93 => geo::address(self.country, rng.bits()),
            // Some four hundred offices a country, each with one address for all.
            u if u < 0.988 => geo::address(self.country, mix(0x0ff1_ce00 + u64::from(self.country), self.traits % 401)),
            _ => geo::address(rng.below(14) as u8, rng.bits()),
        }
    }

    /// The card used now: mostly the first of one to three, now and then a new one.
    pub fn card(&self, rng: &mut Rng) -> u64 {
        let own = 1 + (self.traits >> 8) % 3;
        let which = if rng.chance(0.01) {
            1000 + rng.below(1 << 30)
        } else if rng.chance(0.85) {
            0
        } else {
            rng.below(own)
        };
        mix(self.traits, 0xca4d_0000_0000 + which) | 1
    }

    /// How the customer pays: a place in the list of methods, the same nearly always.
    pub fn method(&self, rng: &mut Rng) -> Method {
        let habit = if rng.chance(0.93) { unit(mix(self.traits, 7)) } else { rng.unit() };
        match habit {
            u if u < 0.66 => Method::Card,
            u if u < 0.90 => Method::Wallet,
            _ => Method::Invoice,
        }
    }
}

/// Ways to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// A card.
    Card,
    /// An account with a payment service.
    Wallet,
    /// On invoice: never declined at once.
    Invoice,
}

impl Method {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Method::Card => "card",
            Method::Wallet => "wallet",
            Method::Invoice => "invoice",
        }
    }
}
