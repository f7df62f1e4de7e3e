//! Planted trouble with accounts: takeover, coupon abuse, refund abuse.
//!
//! `strength` s in [0, 1) of an episode decides whether it is blatant or hides.

use super::agenda::{Act, Source};
use super::config::{DAY_MS, HOUR_MS};
use super::geo;
use super::people::Method;
use super::rng::mix;
use super::schedule::Episode;
use super::trouble_payments::hideout;
use super::visit::Plan;
use super::words::{BROWSERS, COUPON_GUESSED, COUPON_WELCOME};

impl Plan<'_> {
    /// A stranger gets into a regular customer's account: 12 s wrong passwords, a device never seen there, 1 to 4 orders of
    /// goods 1 to 5 times as dear as usual, with the card on file, sent elsewhere in most cases.
    pub fn account_takeover(&mut self, episode: &Episode) {
        let victim = self.world.regular(episode.country, &mut self.rng);
        let place = hideout(self, episode);
        self.as_person(&victim);
        self.who.source = Source::Web;
        self.who.device = mix(episode.seed, 1) | 1;
        self.who.agent = (episode.seed % BROWSERS) as u8;
        self.who.ip = geo::address(place, mix(episode.seed, 2));
        self.who.customer = victim.id;
        for _ in 0..(12.0 * episode.strength) as u32 {
            self.put(Act::LoginFailed);
            self.wait(6.0);
        }
        self.login(&victim);
        if self.rng.chance(0.7) {
            let elsewhere = self.rng.below(self.world.shares.len() as u64) as usize;
            self.who.ship_to = self.world.shares.get(elsewhere).map_or(place, |share| share.0);
        }
        let orders = 1 + (episode.strength * 3.99) as u32;
        let gap_s = episode.length_ms() as f64 / 1000.0 / f64::from(orders + 1);
        for _ in 0..orders {
            let began_ms = self.now_ms;
            let mut basket = Vec::new();
            for _ in 0..1 + self.rng.below(2) {
                let product = self.world.catalogue.dear(2 + (episode.strength * 20.0) as u32, &mut self.rng);
                self.view(product);
                self.wait(9.0);
                let quantity = 1 + (episode.strength * 2.5) as u32;
                self.add(&mut basket, product, quantity);
                self.wait(6.0);
            }
            let order = self.checkout(&basket, None, began_ms);
            self.wait(15.0);
            let fails = if self.rng.chance(0.15) { Some(3) } else { None };
            let card = victim.card(&mut self.rng);
            let payment = self.attempt(&order, Method::Card, card, victim.country, fails);
            if fails.is_none() {
                self.place(&order, payment);
            }
            self.wait(gap_s);
        }
    }

    /// The coupon for first orders used 5 + 35 s times by accounts opened for it. Blatant (s > 0.5): one device and address;
    /// else a device for every two accounts and addresses of one network. A third of the episodes guess codes as well.
    pub fn coupon_abuse(&mut self, episode: &Episode) {
        let accounts = 5 + (35.0 * episode.strength) as u64;
        let gap_s = episode.length_ms() as f64 / 1000.0 / accounts as f64;
        let one_device = episode.strength > 0.5;
        let home = geo::address(episode.country, episode.seed);
        let guesses = if episode.seed.is_multiple_of(3) { 6 } else { 0 };
        for nth in 0..accounts {
            let person = self.world.stranger(episode.country, &mut self.rng);
            self.as_person(&person);
            self.who.source = Source::Web;
            self.who.device = mix(episode.seed, if one_device { 0 } else { nth / 2 }) | 1;
            self.who.agent = (self.who.device % BROWSERS) as u8;
            self.who.ip = if one_device { home } else { (home & 0xffff_ff00) | (1 + (nth as u32 * 7) % 250) };
            self.who.customer = person.id;
            self.who.email = person.email;
            self.put(Act::AccountCreated);
            self.wait(20.0);
            for guess in 0..guesses {
                self.put(Act::CouponDenied { code: COUPON_GUESSED, guess: 10 + guess });
                self.wait(4.0);
            }
            let began_ms = self.now_ms;
            let mut basket = Vec::new();
            let product = self.world.catalogue.dear(3, &mut self.rng);
            self.add(&mut basket, product, 1);
            self.wait(8.0);
            let order = self.checkout(&basket, Some(COUPON_WELCOME), began_ms);
            self.wait(10.0);
            let card = if one_device { mix(episode.seed, 9) | 1 } else { person.card(&mut self.rng) };
            let payment = self.attempt(&order, Method::Card, card, episode.country, None);
            self.place(&order, payment);
            self.wait((gap_s - 40.0).max(1.0));
        }
    }

    /// One customer orders dear goods 3 + 9 s times and sends everything back within a day or two. The orders look like any
    /// other and carry no label; the returns do.
    pub fn refund_abuse(&mut self, episode: &Episode) {
        let person = self.world.regular(episode.country, &mut self.rng);
        let orders = 3 + (9.0 * episode.strength) as u32;
        let gap_ms = episode.length_ms() / i64::from(orders);
        let tag = self.tag;
        for nth in 0..orders {
            self.now_ms = episode.start_ms + gap_ms * i64::from(nth);
            self.as_person(&person);
            self.tag = None;
            self.login(&person);
            let began_ms = self.now_ms;
            let product = self.world.catalogue.dear(4 + (episode.strength * 12.0) as u32, &mut self.rng);
            self.view(product);
            self.wait(20.0);
            let mut basket = Vec::new();
            self.add(&mut basket, product, 1 + (episode.strength * 2.0) as u32);
            self.wait(20.0);
            let order = self.checkout(&basket, None, began_ms);
            self.wait(20.0);
            let card = person.card(&mut self.rng);
            let payment = self.attempt(&order, Method::Card, card, person.country, None);
            self.place(&order, payment);
            self.tag = tag;
            self.who.session = 0;
            self.who.device = 0;
            self.who.ip = 0;
            let days = self.rng.range(0.4, 1.8).min(episode.length_ms() as f64 / DAY_MS as f64 / 3.0);
            self.now_ms += (days * DAY_MS as f64) as i64;
            self.put(Act::ReturnRequested { order: order.clone(), amount_minor: order.amount_minor });
            self.now_ms += (self.rng.range(1.0, 20.0).min(days * 6.0) * HOUR_MS as f64) as i64;
            self.put(Act::Refunded { order: order.clone(), amount_minor: order.amount_minor });
        }
    }
}
