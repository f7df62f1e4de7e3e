//! Planted trouble at the till: card testing, skimmed cards, an outage at a busy moment.
//!
//! `strength` s in [0, 1) of an episode decides whether it is blatant or hides. Deliberately absent: the outage itself; that
//! is a state of the schedule, and customers run into it.

use super::agenda::{Act, PayStatus, Payment, Source};
use super::config::{DAY_MS, HOUR_MS};
use super::geo::{self, ABROAD};
use super::people::Method;
use super::rng::mix;
use super::schedule::Episode;
use super::visit::Plan;
use super::words::{BROWSERS, HEADLESS};
use super::world::FIRST_TERMINAL;

/// An attacker's address: abroad for the careless, in the shop's own country for the careful.
pub(super) fn hideout(plan: &mut Plan<'_>, episode: &Episode) -> u8 {
    if episode.strength > 0.45 { plan.rng.pick(ABROAD).copied().unwrap_or_default() } else { episode.country }
}

impl Plan<'_> {
    /// Stolen cards tried with cheap goods: 20 + 180 s cards. From one device and address when blatant (s > 0.6); from a new
    /// device for every three cards and one of 25 addresses when it hides. 85 to 97 % are declined.
    pub fn card_testing(&mut self, episode: &Episode) {
        let cards = 20 + (180.0 * episode.strength) as u64;
        let gap_s = episode.length_ms() as f64 / 1000.0 / cards as f64;
        self.test_cards(episode, cards, gap_s, episode.strength > 0.6);
    }

    /// `cards` cards tried, one every `gap_s` seconds on average.
    pub fn test_cards(&mut self, episode: &Episode, cards: u64, gap_s: f64, one_device: bool) {
        let place = hideout(self, episode);
        let declined = self.rng.range(0.85, 0.97);
        let cheap = self.cheapest(40);
        for nth in 0..cards {
            let began_ms = self.now_ms;
            let group = if one_device { 0 } else { nth / 3 };
            self.who.source = Source::Web;
            self.who.country = episode.country;
            self.who.ship_to = episode.country;
            self.who.device = mix(episode.seed, group) | 1;
            self.who.ip = geo::address(place, mix(episode.seed, 77 + group % 25));
            self.who.agent = if one_device { HEADLESS } else { (self.who.device % BROWSERS) as u8 };
            if nth % 3 == 0 {
                self.new_session();
                self.who.email = mix(episode.seed, 1000 + nth) | 1;
            }
            let order = self.checkout(&[(cheap, 1)], None, self.now_ms);
            self.now_ms += 400;
            let card = mix(episode.seed, 0x0bad_ca4d + nth) | 1;
            // Stolen in many countries.
            let issued = self.rng.below(14) as u8;
            let fails = if self.rng.chance(declined) { Some(self.rng.below(7) as u8) } else { None };
            self.attempt(&order, Method::Card, card, issued, fails);
            // The next one does not wait for the answer.
            self.now_ms = began_ms;
            self.wait(gap_s);
        }
    }

    /// The cheapest of the `draws` most popular goods.
    fn cheapest(&self, draws: u32) -> u32 {
        let catalogue = &self.world.catalogue;
        (0..draws.min(catalogue.len())).min_by_key(|&p| catalogue.price_minor(p, self.now_ms)).unwrap_or_default()
    }

    /// Cards skimmed at one till are used there again: 4 to 12 sales a day in opening hours, dearer by 0 to 80 %. One by one
    /// they look like any sale; the till is what they share.
    pub fn compromised_terminal(&mut self, episode: &Episode) {
        self.who.source = Source::Pos;
        self.who.country = self.world.main_country();
        self.who.ship_to = self.who.country;
        self.who.terminal = FIRST_TERMINAL + (episode.seed % super::world::TERMINALS) as u32;
        let sales_a_day = 4.0 + 8.0 * episode.strength;
        let gap_s = DAY_MS as f64 / 1000.0 / sales_a_day;
        // In a stretched-down episode the days are shorter and the sales as many.
        let gap_s = gap_s.min(episode.length_ms() as f64 / 8000.0);
        loop {
            self.wait(gap_s);
            if self.now_ms >= episode.end_ms {
                return;
            }
            if !self.open_hours() {
                continue;
            }
            let thief = self.world.stranger(self.who.country, &mut self.rng);
            let draws = 1 + (episode.strength * 2.5) as u32;
            let product = self.world.catalogue.dear(draws, &mut self.rng);
            let order = self.checkout(&[(product, 1)], None, self.now_ms);
            let card = thief.card(&mut self.rng);
            self.counters.payments += 1;
            let payment =
                Payment { number: self.counters.payments, method: Method::Card, card, card_country: thief.country };
            self.put(Act::Pay { order: order.clone(), payment, status: PayStatus::Authorized });
            self.place(&order, payment);
        }
    }

    /// Roughly when branches are open: 8 to 18 UTC but on Sundays; always in a steady shop.
    fn open_hours(&self) -> bool {
        let moved = self.now_ms + self.world.config.clock_shift_ms;
        let sunday = (moved.div_euclid(DAY_MS) + 3).rem_euclid(7) == 6;
        let open = !sunday && (8 * HOUR_MS..18 * HOUR_MS).contains(&moved.rem_euclid(DAY_MS));
        self.world.config.flat || open
    }

    /// Customers of one country at the till until `until_ms`, one every `gap_s` seconds: they run into the outage and try
    /// again. Their events carry no tag; the window of the outage is the truth.
    pub fn busy_till(&mut self, country: u8, until_ms: i64, gap_s: f64) {
        while self.now_ms < until_ms {
            let arrives_ms = self.now_ms;
            let person = self.world.regular(country, &mut self.rng);
            self.as_person(&person);
            self.who.customer = person.id;
            self.who.email = person.email;
            let product = self.interest(&person);
            let mut basket = Vec::new();
            self.add(&mut basket, product, 1);
            self.now_ms += 600;
            let order = self.checkout(&basket, None, arrives_ms);
            self.now_ms += 800;
            if let Some(payment) = self.pay(&person, &order) {
                self.complete(&person, &order, payment);
            }
            self.now_ms = arrives_ms + 200 + (self.rng.range(0.5, 1.5) * gap_s * 1000.0) as i64;
        }
    }
}
