//! Planted trouble with the catalogue: bargain hunters at a wrong price, a scraper.
//!
//! `strength` s in [0, 1) of an episode decides whether it is blatant or hides.

use super::agenda::Source;
use super::geo;
use super::people::Method;
use super::rng::mix;
use super::schedule::Episode;
use super::trouble_payments::hideout;
use super::visit::Plan;
use super::words::{BROWSERS, HEADLESS};

impl Plan<'_> {
    /// The price is wrong for all (the schedule sees to that: 1/2, 1/4, 1/10 or 1/100); beside the usual visitors come
    /// 4 + 40 s who heard of it, half of whom order, one to four pieces each.
    pub fn price_error(&mut self, episode: &Episode) {
        let hunters = 4 + (40.0 * episode.strength) as u64;
        let gap_s = episode.length_ms() as f64 / 1000.0 / (hunters + 1) as f64;
        // Whoever views, adds or orders the product gets the tag from its price, not from here.
        self.tag = None;
        for _ in 0..hunters {
            self.wait(gap_s);
            let arrives_ms = self.now_ms;
            if arrives_ms >= episode.end_ms {
                return;
            }
            let (person, _) = self.world.visitor(episode.country, self.counters, &mut self.rng);
            self.as_person(&person);
            self.who.customer = person.id;
            self.who.email = person.email;
            self.view(episode.product);
            self.wait(8.0);
            if self.rng.chance(0.5) {
                let mut basket = Vec::new();
                let quantity = 1 + self.rng.below(4) as u32;
                self.add(&mut basket, episode.product, quantity);
                self.wait(10.0);
                let order = self.checkout(&basket, None, arrives_ms);
                self.wait(15.0);
                let card = person.card(&mut self.rng);
                let payment = self.attempt(&order, Method::Card, card, person.country, None);
                self.place(&order, payment);
            }
            self.now_ms = arrives_ms;
        }
    }

    /// 150 + 850 s pages read in the order of the catalogue. Blatant (s > 0.6): one address and a scripted browser; else up
    /// to 30 addresses, browsers of people, a new session every 25 pages.
    pub fn bot_traffic(&mut self, episode: &Episode) {
        let pages = 150 + (850.0 * episode.strength) as u64;
        let gap_s = episode.length_ms() as f64 / 1000.0 / pages as f64;
        let blatant = episode.strength > 0.6;
        let addresses = if blatant { 1 } else { 5 + episode.seed % 26 };
        let place = hideout(self, episode);
        let first = self.rng.below(u64::from(self.world.catalogue.len()));
        self.who.source = Source::Web;
        self.who.country = episode.country;
        self.who.ship_to = episode.country;
        for page in 0..pages {
            let group = page / 25;
            self.who.agent = if blatant { HEADLESS } else { (mix(episode.seed, group) % BROWSERS) as u8 };
            self.who.ip = geo::address(place, mix(episode.seed, group % addresses));
            self.who.device = mix(episode.seed, 500 + group % addresses) | 1;
            if page % 25 == 0 && !(blatant && page > 0) {
                self.new_session();
            }
            let product = (first + page) % u64::from(self.world.catalogue.len());
            self.view(product as u32);
            // Machines keep time: between half and one and a half of the gap.
            self.now_ms += 1 + (gap_s * 1000.0 * self.rng.range(0.5, 1.5)) as i64;
        }
    }

    /// Something bought in a quick order by a known customer: used by look-alikes.
    pub fn quick_order(&mut self, person: &super::people::Person, basket: &[(u32, u32)], card: u64) {
        let began_ms = self.now_ms;
        let order = self.checkout(basket, None, began_ms);
        self.wait(20.0);
        let payment = self.attempt(&order, Method::Card, card, person.country, None);
        self.place(&order, payment);
    }
}
