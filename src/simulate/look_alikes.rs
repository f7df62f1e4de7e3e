//! What looks like trouble and is none: alerts about these are false.
//!
//! A sale, an influencer and a new country are states of the schedule. Here: a company that orders in bulk, an office behind
//! one address, a family on one device, a batch of gift cards.

use super::agenda::Source;
use super::geo;
use super::rng::mix;
use super::schedule::Episode;
use super::visit::Plan;
use super::words::BROWSERS;

/// The product that the shop sells as gift card, by popularity.
const GIFT_CARD: u32 = 60;

impl Plan<'_> {
    /// A company buys for its staff: 2 + 8 s orders of 5 to 40 pieces, one account, one card.
    pub fn corporate_customer(&mut self, episode: &Episode) {
        let buyer = self.world.stranger(episode.country, &mut self.rng);
        let orders = 2 + (8.0 * episode.strength) as u32;
        let gap_s = episode.length_ms() as f64 / 1000.0 / f64::from(orders);
        let card = buyer.card(&mut self.rng);
        for _ in 0..orders {
            self.as_person(&buyer);
            self.who.device = mix(episode.seed, 1) | 1;
            self.who.ip = geo::address(episode.country, episode.seed);
            self.login(&buyer);
            let mut basket = Vec::new();
            for _ in 0..1 + self.rng.below(4) {
                let product = self.interest(&buyer);
                let quantity = 5 + self.rng.below(36) as u32;
                self.add(&mut basket, product, quantity);
                self.wait(40.0);
            }
            self.quick_order(&buyer, &basket, card);
            self.wait(gap_s);
        }
    }

    /// An office at lunch: 15 + 45 s ordinary visits by different customers from one address.
    pub fn office_address(&mut self, episode: &Episode) {
        let visits = 15 + (45.0 * episode.strength) as u32;
        let gap_s = episode.length_ms() as f64 / 1000.0 / f64::from(visits);
        let address = geo::address(episode.country, episode.seed);
        for _ in 0..visits {
            let began_ms = self.now_ms;
            let (person, _) = self.world.visitor(episode.country, self.counters, &mut self.rng);
            self.as_person(&person);
            self.who.ip = address;
            let mut seen = self.interest(&person);
            for _ in 0..1 + self.rng.below(4) {
                self.view(seen);
                self.wait(20.0);
                seen = self.interest(&person);
            }
            if self.rng.chance(0.2) {
                self.login(&person);
                let mut basket = Vec::new();
                self.add(&mut basket, seen, 1);
                self.wait(20.0);
                let card = person.card(&mut self.rng);
                self.quick_order(&person, &basket, card);
            }
            self.now_ms = began_ms;
            self.wait(gap_s);
        }
    }

    /// A family at home: three to five accounts on one device, each with a visit and most with an order, in one evening.
    pub fn family_device(&mut self, episode: &Episode) {
        let members = 3 + (episode.strength * 2.99) as u32;
        let gap_s = episode.length_ms() as f64 / 1000.0 / f64::from(members);
        for _ in 0..members {
            let person = self.world.regular(episode.country, &mut self.rng);
            self.as_person(&person);
            self.who.source = Source::Web;
            self.who.device = mix(episode.seed, 1) | 1;
            self.who.agent = (episode.seed % BROWSERS) as u8;
            self.who.ip = geo::address(episode.country, episode.seed);
            self.login(&person);
            let product = self.interest(&person);
            self.view(product);
            self.wait(30.0);
            if self.rng.chance(0.7) {
                let mut basket = Vec::new();
                self.add(&mut basket, product, 1);
                self.wait(30.0);
                let card = person.card(&mut self.rng);
                self.quick_order(&person, &basket, card);
            }
            self.wait(gap_s);
        }
    }

    /// A company buys gift cards for its staff: 8 + 32 s orders of one and the same sum, one card, quickly.
    pub fn gift_cards(&mut self, episode: &Episode) {
        let buyer = self.world.regular(episode.country, &mut self.rng);
        let orders = 8 + (32.0 * episode.strength) as u32;
        let gap_s = episode.length_ms() as f64 / 1000.0 / f64::from(orders);
        let card = buyer.card(&mut self.rng);
        self.as_person(&buyer);
        self.login(&buyer);
        for _ in 0..orders {
            self.quick_order(&buyer, &[(GIFT_CARD.min(self.world.catalogue.len() - 1), 1)], card);
            self.wait(gap_s);
        }
    }
}
