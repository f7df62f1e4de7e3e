//! The shop: who comes when, and one event after the other in order of arrival.
//!
//! Deliberately absent: clocks and files. The caller asks for the next event and decides what to do with it.

use super::agenda::{Agenda, Source, Who};
use super::config::{ConfigError, DAY_MS, MINUTE_MS, ShopConfig, TroublePlan};
use super::people::Person;
use super::render::{Renderer, push_id};
use super::rhythm::Rhythm;
use super::rng::{Rng, mix, place, unit};
use super::schedule::{Episode, Schedule, Setting};
use super::truth::{Kind, Target, Truth};
use super::visit::Plan;
use super::world::{Counters, World};
use super::{geo, words};

/// Shares of the events: visits, tills, crawlers.
const EVENT_SHARES: [f64; 3] = [0.93, 0.04, 0.03];
/// Visits tried out to learn how many events one makes.
const TRIAL_VISITS: u32 = 6000;
/// The shop runs unseen for this long before its start, so that it does not open with an empty house.
const WARM_UP_MS: i64 = 15 * MINUTE_MS;
/// Most visits while warming up: above that, the first minutes are a little quieter.
const WARM_UP_VISITS: f64 = 100_000.0;
/// Orders of so many days before the start may still come back.
const RETURNS_DAYS: i64 = 21;
/// Most returns carried over from before the start: beyond that a short run does not feel them.
const MAX_CARRIED_RETURNS: f64 = 50_000.0;

/// An event that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// When it happened, ms since the epoch: the `time` in the JSON.
    pub time_ms: i64,
    /// When it reaches the gateway; never falls from one event to the next. `time_ms` unless late events were asked for.
    pub arrival_ms: i64,
    /// Its producer.
    pub source: Source,
    /// Its label, if it belongs to something planted.
    pub truth: Option<Truth>,
}

/// Rates of one minute, by segment: countries, then tills, then crawlers.
struct Minute {
    end_ms: i64,
    /// Visits a minute.
    total: f64,
    cumulative: Vec<f64>,
    countries: Vec<u8>,
    spotlight: Option<(u32, f64)>,
}

/// A simulated shop. Events never end; the caller stops.
pub struct Shop {
    pub(super) world: World,
    pub(super) schedule: Schedule,
    pub(super) rhythm: Rhythm,
    pub(super) agenda: Agenda,
    pub(super) counters: Counters,
    renderer: Renderer,
    arrivals: Rng,
    /// Visits, till sales and crawls a minute, on average.
    rates: [f64; 3],
    minute: Minute,
    next_visit_ms: f64,
    start_ms: i64,
    events: u64,
    last_ms: i64,
}

impl Shop {
    /// A shop that is about to send its first event.
    pub fn new(config: ShopConfig) -> Result<Shop, ConfigError> {
        config.check()?;
        let start_ms = config.start_ms;
        // Trouble of the trial must not exist: a shop with a quiet schedule is tried out first.
        let trial = ShopConfig { trouble: TroublePlan::none(), ..config.clone() };
        let (per_visit, returns) = events_per_visit(World::new(trial, config.events_per_minute / 7.0)?);
        let rates = [
            config.events_per_minute * EVENT_SHARES[0] / per_visit[0],
            config.events_per_minute * EVENT_SHARES[1] / per_visit[1],
            config.events_per_minute * EVENT_SHARES[2] / per_visit[2],
        ];
        let world = World::new(config, rates[0])?;
        let config = &world.config;
        let warm_up_ms = WARM_UP_MS.min((WARM_UP_VISITS / rates[0] * MINUTE_MS as f64) as i64);
        let begin_ms = start_ms - warm_up_ms;
        let unopened = config.later_countries.iter().rev().filter_map(|code| geo::index(code));
        let setting = Setting {
            seed: config.seed,
            from_ms: start_ms,
            shares: world.shares.clone(),
            unopened: unopened.filter(|place| world.shares.iter().all(|share| share.0 != *place)).collect(),
            products: world.catalogue.len(),
            label_delay_ms: config.label_delay_ms,
        };
        let minute =
            Minute { end_ms: begin_ms, total: 0.0, cumulative: Vec::new(), countries: Vec::new(), spotlight: None };
        let mut shop = Shop {
            schedule: Schedule::new(config.trouble.clone(), setting),
            rhythm: Rhythm::new(config.seed, config.flat, config.clock_shift_ms),
            agenda: Agenda::default(),
            counters: Counters::new(),
            renderer: Renderer { run: world.run(), currency: config.currency.clone() },
            arrivals: Rng::new(config.seed, 0xa441_7a15),
            rates,
            minute,
            next_visit_ms: begin_ms as f64,
            start_ms,
            events: 0,
            last_ms: start_ms,
            world,
        };
        shop.carry_returns(returns);
        shop.next_minute();
        Ok(shop)
    }

    /// Events written so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// When the next event will arrive, ms since the epoch.
    pub fn peek_ms(&mut self) -> i64 {
        loop {
            self.plan_ahead();
            let arrival_ms = self.agenda.next_ms().unwrap_or(self.last_ms);
            if !self.unseen() {
                return arrival_ms;
            }
            self.agenda.pop();
        }
    }

    /// Whether the next event is from before the start or gets lost in a silent source.
    fn unseen(&self) -> bool {
        self.agenda
            .peek()
            .is_some_and(|next| next.time_ms < self.start_ms || self.schedule.silenced(next.who.source, next.time_ms))
    }

    /// Writes the next event into `json` (emptied first), as one line without its end.
    pub fn next_event(&mut self, json: &mut String) -> Generated {
        json.clear();
        let arrival_ms = self.peek_ms();
        let Some((_, planned)) = self.agenda.pop() else {
            // `peek_ms` returns only with an event at hand.
            return Generated { time_ms: arrival_ms, arrival_ms, source: Source::Web, truth: None };
        };
        self.events += 1;
        self.last_ms = arrival_ms;
        self.renderer.event(json, self.events, &planned);
        let truth = planned.tag.map(|tag| {
            let mut id = String::with_capacity(24);
            push_id(&mut id, self.renderer.run, self.events);
            let known_ms = planned.time_ms + self.world.config.label_delay_ms;
            Truth { tag, target: Target::Event { id, source: planned.who.source }, known_ms }
        });
        Generated { time_ms: planned.time_ms, arrival_ms, source: planned.who.source, truth }
    }

    /// Labels of metric-level episodes that ended since the last call.
    pub fn take_windows(&mut self) -> Vec<Truth> {
        self.schedule.take_windows(self.last_ms, false)
    }

    /// At the end: labels of metric-level episodes still running, cut at the last event.
    pub fn cut_windows(&mut self) -> Vec<Truth> {
        self.schedule.take_windows(self.last_ms, true)
    }

    /// Follows another plan of trouble from a moment on; what runs, runs on.
    pub fn replace_trouble(&mut self, plan: TroublePlan, from_ms: i64) {
        self.schedule.replace(plan, from_ms);
    }

    /// Plans visits until nothing planned later can come before the next event.
    fn plan_ahead(&mut self) {
        loop {
            let next_ms = self.agenda.next_ms().unwrap_or(i64::MAX);
            if next_ms < self.minute.end_ms && (next_ms as f64) < self.next_visit_ms {
                return;
            }
            if self.next_visit_ms >= self.minute.end_ms as f64 {
                self.next_minute();
                continue;
            }
            let at_ms = self.next_visit_ms as i64;
            self.arrive(at_ms);
            self.draw_next();
        }
    }

    fn draw_next(&mut self) {
        // Exponential gaps forget: at the end of a minute the draw starts anew with the next minute's rate.
        let gap_ms = self.arrivals.exponential(MINUTE_MS as f64 / self.minute.total.max(1e-9));
        self.next_visit_ms += gap_ms;
    }

    /// Rates of the next minute, and scripts that start in it.
    fn next_minute(&mut self) {
        let start_ms = self.minute.end_ms;
        self.schedule.extend(start_ms, &mut self.rhythm);
        let level = self.rhythm.level(start_ms);
        let visits = self.rates[0] * level * self.schedule.visits(start_ms);
        let spotlight = self.schedule.spotlight(start_ms);
        let extra = 1.0 + spotlight.map_or(0.0, |(_, extra)| extra);
        let (mut total, mut cumulative, mut countries) = (0.0, Vec::new(), Vec::new());
        let opened: Vec<(u8, f64)> = self.schedule.opened(start_ms).collect();
        for &(country, share) in self.world.shares.iter().chain(&opened) {
            total += visits * extra * share * self.rhythm.online(country, start_ms);
            cumulative.push(total);
            countries.push(country);
        }
        total += self.rates[1] * level * self.rhythm.branch(self.world.main_country(), start_ms);
        cumulative.push(total);
        total += self.rates[2];
        cumulative.push(total);
        let end_ms = (start_ms.div_euclid(MINUTE_MS) + 1) * MINUTE_MS;
        self.minute = Minute { end_ms, total, cumulative, countries, spotlight };
        self.next_visit_ms = start_ms as f64;
        self.draw_next();
        for episode in self.schedule.take_due(end_ms) {
            self.script(&episode);
        }
    }

    /// Somebody comes.
    fn arrive(&mut self, at_ms: i64) {
        let segment = place(&self.minute.cumulative, self.arrivals.unit());
        let country = self.minute.countries.get(segment).copied();
        let crawler = segment > self.minute.countries.len();
        let spotlight = self.minute.spotlight.filter(|(_, extra)| self.arrivals.chance(extra / (1.0 + extra)));
        let seed = self.arrivals.bits();
        let home = country.unwrap_or(self.world.main_country());
        let mut plan = self.plan(seed, at_ms);
        plan.who.country = home;
        plan.who.ship_to = home;
        match country {
            Some(country) => {
                let (person, first) = plan.world.visitor(country, plan.counters, &mut plan.rng);
                plan.visit(&person, first, spotlight.map(|(product, _)| product));
            }
            None if crawler => plan.crawl(),
            None => plan.sell_at_till(home),
        }
    }

    /// A plan that starts at a time, with nobody acting yet.
    pub(super) fn plan(&mut self, seed: u64, at_ms: i64) -> Plan<'_> {
        Plan {
            world: &self.world,
            schedule: &self.schedule,
            counters: &mut self.counters,
            agenda: &mut self.agenda,
            rng: Rng::new(seed, 0),
            who: nobody(),
            now_ms: at_ms,
            tag: None,
        }
    }

    /// Plans the events of an episode.
    pub(super) fn script(&mut self, episode: &Episode) {
        let mut plan = self.plan(episode.seed, episode.start_ms);
        plan.tag = Some(episode.tag);
        plan.who.country = episode.country;
        plan.who.ship_to = episode.country;
        match episode.tag.kind {
            Kind::CardTesting => plan.card_testing(episode),
            Kind::AccountTakeover => plan.account_takeover(episode),
            Kind::CompromisedTerminal => plan.compromised_terminal(episode),
            Kind::PriceError => plan.price_error(episode),
            Kind::CouponAbuse => plan.coupon_abuse(episode),
            Kind::RefundAbuse => plan.refund_abuse(episode),
            Kind::BotTraffic => plan.bot_traffic(episode),
            Kind::CorporateCustomer => plan.corporate_customer(episode),
            Kind::OfficeAddress => plan.office_address(episode),
            Kind::FamilyDevice => plan.family_device(episode),
            Kind::GiftCards => plan.gift_cards(episode),
            // States of the schedule: nobody acts.
            Kind::PaymentOutage
            | Kind::SilentTracker
            | Kind::RevenueDrop
            | Kind::Sale
            | Kind::Influencer
            | Kind::NewCountry => {}
        }
    }

    /// Orders from before the start come back in the first weeks as they do later: without them returns would climb from 0.
    fn carry_returns(&mut self, per_visit: f64) {
        let a_day = self.rates[0] * 24.0 * 60.0 * per_visit;
        let count = (a_day * RETURNS_DAYS as f64).min(MAX_CARRIED_RETURNS) as u64;
        let start_ms = self.start_ms;
        let mut draw = Rng::new(self.world.config.seed, 0x0e7a_4e5e);
        for nth in 0..count {
            let placed_ms = start_ms - draw.below((RETURNS_DAYS * DAY_MS) as u64) as i64;
            let share = draw.unit();
            let seed = mix(self.world.config.seed, 0x0e7a_0000_0000 + nth);
            let country = country_at(&self.world.shares, share);
            let mut plan = self.plan(seed, placed_ms);
            plan.returned_order(country);
        }
    }
}

fn country_at(shares: &[(u8, f64)], unit: f64) -> u8 {
    let mut left = unit;
    let found = shares.iter().find(|(_, share)| {
        left -= share;
        left < 0.0
    });
    found.or(shares.first()).map(|(country, _)| *country).unwrap_or_default()
}

fn nobody() -> Who {
    Who {
        source: Source::Web,
        customer: 0,
        email: 0,
        session: 0,
        device: 0,
        ip: 0,
        agent: 0,
        country: 0,
        ship_to: 0,
        terminal: 0,
    }
}

/// Events that a visit, a sale at a till and a crawl make on average, and returns for each visit, found by trying.
fn events_per_visit(world: World) -> ([f64; 3], f64) {
    let setting = Setting {
        seed: 0,
        from_ms: 0,
        shares: world.shares.clone(),
        unopened: Vec::new(),
        products: world.catalogue.len(),
        label_delay_ms: 0,
    };
    let schedule = Schedule::new(TroublePlan::none(), setting);
    let home = world.main_country();
    let (mut result, mut returns) = ([1.0; 3], 0.0);
    for (which, mean) in result.iter_mut().enumerate() {
        let (mut agenda, mut counters) = (Agenda::default(), Counters::new());
        for nth in 0..TRIAL_VISITS {
            let seed = mix(world.config.seed, (which as u64) << 40 | u64::from(nth));
            let mut plan = Plan {
                world: &world,
                schedule: &schedule,
                counters: &mut counters,
                agenda: &mut agenda,
                rng: Rng::new(seed, 0),
                who: nobody(),
                now_ms: world.config.start_ms,
                tag: None,
            };
            match which {
                0 => {
                    let country = country_at(&world.shares, unit(seed));
                    let (person, first) = plan.world.visitor(country, plan.counters, &mut plan.rng);
                    plan.visit(&person, first, None);
                }
                1 => plan.sell_at_till(home),
                _ => plan.crawl(),
            }
        }
        let (events, returned) = agenda.count();
        *mean = events as f64 / f64::from(TRIAL_VISITS);
        returns += returned as f64 / f64::from(TRIAL_VISITS);
    }
    (result, returns)
}

impl Plan<'_> {
    /// A customer at one of the tills.
    fn sell_at_till(&mut self, country: u8) {
        let person = Person::draw(self.world.config.seed, country, 5000, &mut self.rng);
        self.who = nobody();
        self.who.source = Source::Pos;
        self.who.country = country;
        self.who.ship_to = country;
        self.who.terminal = self.world.terminal(&mut self.rng);
        self.till(&person);
    }

    /// An order placed before anybody looked comes back.
    fn returned_order(&mut self, country: u8) {
        let (person, _) = self.world.visitor(country, self.counters, &mut self.rng);
        self.as_person(&person);
        self.who.customer = person.id;
        self.who.email = person.email;
        self.who.session = 0;
        self.who.device = 0;
        self.who.ip = 0;
        let favourite = person.favourites[0];
        let product = self.world.catalogue.popular_in(favourite, &mut self.rng);
        let placed_ms = self.now_ms;
        let order = self.order(&[(product, 1)], None, placed_ms);
        let days = self.rng.lognormal(7.0, 0.4).clamp(3.0, 21.0);
        self.now_ms = placed_ms + (days * DAY_MS as f64) as i64;
        self.send_back(&order, 3.0);
    }
}

const _: () = assert!(words::CATEGORIES.len() < 256, "a category's place is one byte");
