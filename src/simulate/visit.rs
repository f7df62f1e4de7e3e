//! The hand that plans events: a clock of its own, who acts, and random numbers of its own.
//!
//! Here: looking around. Buying is in `purchase.rs`. Deliberately absent: the decision who comes when.

use super::agenda::{Act, Agenda, Line, Planned, Source, Who};
use super::people::Person;
use super::rng::{Rng, mix};
use super::schedule::Schedule;
use super::truth::Tag;
use super::words::{CRAWLERS, SEARCHES};
use super::world::{Counters, World};
use super::{config::MINUTE_MS, geo};

/// Views after the first one, on average, and at most.
const MORE_VIEWS: (f64, u64) = (2.5, 40);
/// Share of views that are followed by a click on a picture, a size, a review.
const CLICK_SHARE: f64 = 0.3;
/// Share of views before which something is searched for.
const SEARCH_SHARE: f64 = 0.12;
/// Share of views of something that goes into the basket.
const CART_SHARE: f64 = 0.12;
/// Share of views in the visitor's favourite categories.
const FAVOURITE_SHARE: f64 = 0.6;
/// Mean seconds between two steps.
const STEP_S: f64 = 22.0;

/// Plans the events of one visit, sale at a till, or script.
pub(super) struct Plan<'a> {
    pub world: &'a World,
    pub schedule: &'a Schedule,
    pub counters: &'a mut Counters,
    pub agenda: &'a mut Agenda,
    pub rng: Rng,
    pub who: Who,
    /// The plan's own clock, ms since the epoch.
    pub now_ms: i64,
    /// Put on every event, unless the event has one of its own.
    pub tag: Option<Tag>,
}

impl Plan<'_> {
    /// Lets time pass: this many seconds on average, exponential.
    pub fn wait(&mut self, mean_s: f64) {
        self.now_ms += 1 + (self.rng.exponential(mean_s) * 1000.0) as i64;
    }

    /// Plans an event for now.
    pub fn put(&mut self, act: Act) {
        self.put_tagged(act, None);
    }

    /// Plans an event for now with a tag of its own.
    pub fn put_tagged(&mut self, act: Act, tag: Option<Tag>) {
        let mut arrival_ms = self.now_ms;
        if self.world.config.disorder {
            arrival_ms += match self.rng.unit() {
                u if u < 0.0002 => (self.rng.range(2.5, 60.0) * MINUTE_MS as f64) as i64,
                u if u < 0.01 => self.rng.exponential(10_000.0).min(100_000.0) as i64,
                _ => 0,
            };
        }
        let planned = Planned { time_ms: self.now_ms, who: self.who, act, tag: tag.or(self.tag) };
        self.agenda.push(arrival_ms, planned);
    }

    /// A new session of the one who acts.
    pub fn new_session(&mut self) {
        self.counters.sessions += 1;
        self.who.session = mix(self.world.run(), self.counters.sessions) | 1;
    }

    /// Acts as a person with one of his devices from one of his addresses; not logged in yet.
    pub fn as_person(&mut self, person: &Person) {
        let app = person.app && self.rng.chance(0.8);
        let (device, agent) = person.device(app, &mut self.rng);
        self.who = Who {
            source: if app { Source::App } else { Source::Web },
            customer: 0,
            email: 0,
            session: 0,
            device,
            ip: person.address(self.now_ms, &mut self.rng),
            agent,
            country: person.country,
            ship_to: person.country,
            terminal: 0,
        };
        self.new_session();
    }

    /// Logs in.
    pub fn login(&mut self, person: &Person) {
        self.who.customer = person.id;
        self.who.email = person.email;
        self.put(Act::Login);
        self.wait(4.0);
    }

    /// A product with its price of now: list price, less a running sale, or a wrong one with its tag.
    pub fn line(&self, product: u32, quantity: u32) -> (Line, Option<Tag>) {
        let list = self.world.catalogue.price_minor(product, self.now_ms);
        let (price_minor, tag) = match self.schedule.wrong_price(product, self.now_ms) {
            Some((over, under, tag)) => (list * over / under, Some(tag)),
            None => (list * (100 - self.schedule.sale_percent(product, self.now_ms)) / 100, None),
        };
        let category = self.world.catalogue.category(product);
        (Line { product, category, quantity, price_minor: price_minor.max(1) }, tag)
    }

    /// Looks at a product.
    pub fn view(&mut self, product: u32) {
        let (line, tag) = self.line(product, 1);
        self.put_tagged(Act::View(line), tag);
    }

    /// Puts a product into the basket.
    pub fn add(&mut self, basket: &mut Vec<(u32, u32)>, product: u32, quantity: u32) {
        let (line, tag) = self.line(product, quantity);
        self.put_tagged(Act::CartAdd(line), tag);
        basket.push((product, quantity));
    }

    /// Searches for something.
    pub fn search(&mut self) {
        let word = self.rng.below(SEARCHES.len() as u64) as u8;
        let results = self.rng.below(120) as u32;
        self.put(Act::Search { word, results });
    }

    /// What this person looks at next.
    pub fn interest(&mut self, person: &Person) -> u32 {
        let catalogue = &self.world.catalogue;
        let draw = |rng: &mut Rng| {
            if rng.chance(FAVOURITE_SHARE) {
                let favourite = person.favourites[rng.below(2) as usize];
                catalogue.popular_in(favourite, rng)
            } else {
                catalogue.popular(rng)
            }
        };
        let first = draw(&mut self.rng);
        // Those who spend more look at the dearer of two.
        if person.spending > 1.0 && self.rng.chance((person.spending - 1.0) * 0.5) {
            let second = draw(&mut self.rng);
            let price = |product| catalogue.price_minor(product, self.now_ms);
            return if price(second) > price(first) { second } else { first };
        }
        first
    }

    /// A whole visit of a person; `spotlight`: came for this product.
    pub fn visit(&mut self, person: &Person, first_visit: bool, spotlight: Option<u32>) {
        self.as_person(person);
        let began_ms = self.now_ms;
        if !first_visit && self.rng.chance(if self.who.source == Source::App { 0.9 } else { 0.4 }) {
            if self.rng.chance(0.03) {
                self.who.customer = person.id;
                self.put(Act::LoginFailed);
                self.wait(8.0);
            }
            self.login(person);
        }
        let mut basket = Vec::new();
        let views = 1 + self.rng.geometric(MORE_VIEWS.0, MORE_VIEWS.1);
        for nth in 0..views {
            if self.rng.chance(SEARCH_SHARE) {
                self.search();
                self.wait(STEP_S * 0.5);
            }
            let product = match spotlight {
                Some(product) if nth == 0 => product,
                _ => self.interest(person),
            };
            self.view(product);
            self.wait(STEP_S);
            if self.rng.chance(CLICK_SHARE) {
                let (line, tag) = self.line(product, 1);
                self.put_tagged(Act::Click(line), tag);
                self.wait(STEP_S);
            }
            if self.rng.chance(CART_SHARE) {
                let quantity = 1 + self.rng.geometric(0.2, 5) as u32;
                self.add(&mut basket, product, quantity);
                self.wait(STEP_S);
            }
        }
        if !basket.is_empty() {
            self.take_to_till(person, basket, began_ms, first_visit);
        }
    }

    /// A crawler that says who it is.
    pub fn crawl(&mut self) {
        let bits = self.rng.bits();
        self.who.country = geo::UNKNOWN;
        self.who.agent = CRAWLERS[self.rng.below(3) as usize];
        // Each search engine has a few addresses.
        self.who.ip = geo::address(8, mix(u64::from(self.who.agent), bits % 12));
        for _ in 0..1 + self.rng.geometric(5.0, 60) {
            let product = self.rng.below(u64::from(self.world.catalogue.len())) as u32;
            self.view(product);
            self.wait(12.0);
        }
    }
}
