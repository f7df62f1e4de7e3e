//! When which episode is planted, and what it changes while it lasts.
//!
//! Episodes are drawn kind by kind, a little ahead of the shop's clock, from a stream of their own: trouble does not change
//! who visits. Deliberately absent: the events of an episode (see `trouble_*` and `look_alikes`).

use super::agenda::Source;
use super::config::{DAY_MS, HOUR_MS, MINUTE_MS, TroublePlan};
use super::geo;
use super::rhythm::Rhythm;
use super::rng::{Rng, mix};
use super::truth::{Kind, Tag, Target, Truth};

/// Episodes are known this long before they start: longer than any visit.
const AHEAD_MS: i64 = 4 * HOUR_MS;
/// Shortest episode after stretching: two buckets of a series.
const SHORTEST_MS: i64 = 2 * MINUTE_MS;
/// Most countries that open.
const MAX_OPENED: usize = 8;

/// One planted episode.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    pub tag: Tag,
    pub start_ms: i64,
    pub end_ms: i64,
    /// 0 = hardly to be seen, 1 = blatant.
    pub strength: f64,
    pub country: u8,
    pub source: Source,
    pub product: u32,
    /// For the script's own random numbers.
    pub seed: u64,
    scripted: bool,
    told: bool,
}

impl Episode {
    fn covers(&self, at_ms: i64) -> bool {
        self.start_ms <= at_ms && at_ms < self.end_ms
    }

    /// Length, ms.
    pub fn length_ms(&self) -> i64 {
        self.end_ms - self.start_ms
    }
}

/// All episodes that are coming or running.
pub(super) struct Schedule {
    plan: TroublePlan,
    rng: Rng,
    next: Vec<(Kind, i64)>,
    episodes: Vec<Episode>,
    opened: Vec<(u8, i64)>,
    unopened: Vec<u8>,
    shares: Vec<(u8, f64)>,
    planted: u32,
    products: u32,
    label_delay_ms: i64,
}

/// What the schedule needs to know about the shop.
pub(super) struct Setting {
    pub seed: u64,
    pub from_ms: i64,
    pub shares: Vec<(u8, f64)>,
    pub unopened: Vec<u8>,
    pub products: u32,
    pub label_delay_ms: i64,
}

impl Schedule {
    /// Nothing is planned before the plan's quiet time after `from_ms` is over.
    pub fn new(plan: TroublePlan, setting: Setting) -> Schedule {
        let mut schedule = Schedule {
            plan: TroublePlan::none(),
            rng: Rng::new(setting.seed, 0x5c4e_d01e),
            next: Vec::new(),
            episodes: Vec::new(),
            opened: Vec::new(),
            unopened: setting.unopened,
            shares: setting.shares,
            planted: 0,
            products: setting.products,
            label_delay_ms: setting.label_delay_ms,
        };
        schedule.replace(plan, setting.from_ms);
        schedule
    }

    /// Follows another plan from now on; what runs, runs on.
    pub fn replace(&mut self, plan: TroublePlan, from_ms: i64) {
        let first = from_ms + plan.quiet_ms;
        let gap = plan.mean_gap_ms as f64;
        self.next = plan.kinds.iter().map(|&kind| (kind, first + self.rng.range(0.0, gap) as i64)).collect();
        self.plan = plan;
    }

    /// Draws what starts within the next hours and forgets what ended long ago.
    pub fn extend(&mut self, now_ms: i64, rhythm: &mut Rhythm) {
        self.episodes.retain(|e| e.end_ms + AHEAD_MS > now_ms || !e.told || !e.scripted);
        for place in 0..self.next.len() {
            while let Some(&(kind, at_ms)) = self.next.get(place).filter(|next| next.1 < now_ms + AHEAD_MS) {
                let gap = self.plan.mean_gap_ms as f64 * self.rng.range(0.5, 1.5);
                if let Some(next) = self.next.get_mut(place) {
                    next.1 = at_ms + gap as i64;
                }
                self.draw(kind, at_ms.max(now_ms), rhythm);
            }
        }
    }

    fn draw(&mut self, kind: Kind, at_ms: i64, rhythm: &mut Rhythm) {
        let mut country = self.some_country();
        if kind == Kind::NewCountry {
            let Some(opens) = self.unopened.pop().filter(|_| self.opened.len() < MAX_OPENED) else { return };
            country = opens;
            self.opened.push((opens, at_ms));
        }
        let mut start_ms = at_ms;
        if self.plan.by_day && !matches!(kind, Kind::CardTesting | Kind::AccountTakeover | Kind::NewCountry) {
            let hour = rhythm.local_hour(country, at_ms);
            let wanted = self.rng.range(9.0, 19.0);
            // Never backwards: the visits of the hours before are planned already.
            start_ms += (((wanted - hour).rem_euclid(24.0)) * HOUR_MS as f64) as i64;
        }
        let length = (self.length_ms(kind) as f64 * self.plan.stretch) as i64;
        let source = if self.rng.chance(0.5) { Source::Web } else { Source::App };
        let popular = u64::from(self.products.min(300));
        let product = self.rng.below(popular) as u32;
        let strength = self.rng.unit();
        self.plant(kind, start_ms, start_ms + length.max(SHORTEST_MS), strength, country, source, product);
    }

    /// Plants an episode at a given time.
    #[allow(clippy::too_many_arguments)] // one place builds an episode; a builder would say the same twice
    pub fn plant(
        &mut self,
        kind: Kind,
        start_ms: i64,
        end_ms: i64,
        strength: f64,
        country: u8,
        source: Source,
        product: u32,
    ) -> Episode {
        self.planted += 1;
        let tag = Tag { kind, episode: self.planted };
        let seed = mix(self.rng.bits(), u64::from(self.planted));
        let episode = Episode {
            tag,
            start_ms,
            end_ms,
            strength,
            country,
            source,
            product,
            seed,
            scripted: false,
            told: !kind.metric_level(),
        };
        self.episodes.push(episode.clone());
        episode
    }

    /// Its events are planned by the caller, now.
    pub fn mark_scripted(&mut self, tag: Tag) {
        for episode in self.episodes.iter_mut().filter(|episode| episode.tag == tag) {
            episode.scripted = true;
        }
    }

    /// How long an episode of a kind lasts in history, ms.
    fn length_ms(&mut self, kind: Kind) -> i64 {
        let hour = HOUR_MS as f64;
        let (low, high) = match kind {
            Kind::CardTesting => (0.1 * hour, 2.0 * hour),
            Kind::AccountTakeover => (0.2 * hour, 2.0 * hour),
            Kind::CompromisedTerminal => (48.0 * hour, 192.0 * hour),
            Kind::PriceError => (hour, 4.0 * hour),
            Kind::CouponAbuse => (0.5 * hour, 4.0 * hour),
            Kind::RefundAbuse => (72.0 * hour, 288.0 * hour),
            Kind::PaymentOutage => (0.25 * hour, 1.25 * hour),
            Kind::SilentTracker => (0.3 * hour, 1.5 * hour),
            Kind::BotTraffic => (0.3 * hour, 2.0 * hour),
            Kind::RevenueDrop => (hour, 4.0 * hour),
            Kind::Sale => (24.0 * hour, 60.0 * hour),
            Kind::Influencer => (2.0 * hour, 6.0 * hour),
            Kind::NewCountry => (120.0 * hour, 168.0 * hour),
            Kind::CorporateCustomer => (4.0 * hour, 48.0 * hour),
            Kind::OfficeAddress => (4.0 * hour, 9.0 * hour),
            Kind::FamilyDevice => (1.0 * hour, 4.0 * hour),
            Kind::GiftCards => (0.3 * hour, 2.0 * hour),
        };
        self.rng.range(low, high) as i64
    }

    /// A country by its share, squared: trouble that nobody could see teaches nothing.
    fn some_country(&mut self) -> u8 {
        let total: f64 = self.shares.iter().map(|(_, share)| share * share).sum();
        let mut left = self.rng.unit() * total;
        for (country, share) in &self.shares {
            left -= share * share;
            if left < 0.0 {
                return *country;
            }
        }
        self.shares.first().map(|(country, _)| *country).unwrap_or_default()
    }

    /// Episodes that start before `until_ms` and whose events are not planned yet; each is given out once.
    pub fn take_due(&mut self, until_ms: i64) -> Vec<Episode> {
        let mut due = Vec::new();
        for episode in self.episodes.iter_mut().filter(|e| !e.scripted && e.start_ms < until_ms) {
            episode.scripted = true;
            due.push(episode.clone());
        }
        due
    }

    /// The windows of metric-level episodes that started and, unless `cut`, ended by `now_ms`; each is given out once.
    pub fn take_windows(&mut self, now_ms: i64, cut: bool) -> Vec<Truth> {
        let over = |e: &Episode| e.end_ms <= now_ms || (cut && e.start_ms < now_ms);
        let mut windows = Vec::new();
        for episode in self.episodes.iter_mut().filter(|e| !e.told && over(e)) {
            episode.told = true;
            let to_ms = episode.end_ms.min(now_ms);
            let (metric, dimension) = series_of(episode);
            let target = Target::Window { from_ms: episode.start_ms, to_ms, metric, dimension };
            windows.push(Truth { tag: episode.tag, target, known_ms: to_ms + self.label_delay_ms });
        }
        windows.sort_by_key(|truth| (truth.known_ms, truth.tag.episode));
        windows
    }

    fn running(&self, kind: Kind, at_ms: i64) -> impl Iterator<Item = &Episode> {
        self.episodes.iter().filter(move |e| e.tag.kind == kind && e.covers(at_ms))
    }

    /// Probability that a payment from a country fails because of an outage.
    pub fn payment_failure(&self, country: u8, at_ms: i64) -> Option<f64> {
        self.running(Kind::PaymentOutage, at_ms).find(|e| e.country == country).map(|e| 0.65 + 0.35 * e.strength)
    }

    /// A source whose events get lost now.
    pub fn silenced(&self, source: Source, at_ms: i64) -> bool {
        self.running(Kind::SilentTracker, at_ms).any(|e| e.source == source)
    }

    /// Share of the checkouts that break off.
    pub fn broken_off(&self, at_ms: i64) -> f64 {
        self.running(Kind::RevenueDrop, at_ms).map(|e| 0.35 + 0.25 * e.strength).fold(0.0, f64::max)
    }

    /// Multiplies the visits of all.
    pub fn visits(&self, at_ms: i64) -> f64 {
        self.running(Kind::Sale, at_ms).map(|e| 1.3 + 1.2 * e.strength).fold(1.0, f64::max)
    }

    /// Multiplies the visits for the sake of one product.
    pub fn spotlight(&self, at_ms: i64) -> Option<(u32, f64)> {
        self.running(Kind::Influencer, at_ms).next().map(|e| (e.product, 0.3 + 1.2 * e.strength))
    }

    /// Discount of a running sale on a product, per cent.
    pub fn sale_percent(&self, product: u32, at_ms: i64) -> i64 {
        let on_sale = |e: &&Episode| mix(e.seed, u64::from(product)) % 10 < 4;
        self.running(Kind::Sale, at_ms).find(on_sale).map_or(0, |e| 10 + (e.strength * 25.0) as i64)
    }

    /// A wrong price of a product as a fraction of the right one.
    pub fn wrong_price(&self, product: u32, at_ms: i64) -> Option<(i64, i64, Tag)> {
        let episode = self.running(Kind::PriceError, at_ms).find(|e| e.product == product)?;
        let (over, under) = match episode.strength {
            s if s < 0.25 => (1, 2),
            s if s < 0.50 => (1, 4),
            s if s < 0.75 => (1, 10),
            _ => (1, 100),
        };
        Some((over, under, episode.tag))
    }

    /// Countries that opened, with their share of the visits: from 0.5 % on the first day to 2 % after two weeks.
    pub fn opened(&self, at_ms: i64) -> impl Iterator<Item = (u8, f64)> {
        self.opened.iter().filter(move |(_, from_ms)| *from_ms <= at_ms).map(move |(country, from_ms)| {
            let days = (at_ms - from_ms) as f64 / DAY_MS as f64;
            (*country, 0.005 + 0.015 * (days / 14.0).min(1.0))
        })
    }
}

/// Name and dimension of the series in which an episode shows.
fn series_of(episode: &Episode) -> (&'static str, Option<(&'static str, String)>) {
    let country = || Some(("country", geo::country(episode.country).code.to_owned()));
    match episode.tag.kind {
        Kind::PaymentOutage => ("payments_failed", country()),
        Kind::SilentTracker => ("events", Some(("source", episode.source.name().to_owned()))),
        Kind::Influencer => ("views", Some(("product_id", format!("p-{}", episode.product)))),
        Kind::NewCountry => ("orders", country()),
        Kind::Sale => ("orders", None),
        _ => ("revenue", None),
    }
}
