//! What is kept of an entity: exact recent events, panes for long windows, moments of amounts, partners seen with it.
//!
//! Windows end at the entity's latest time, or at the event's own when that is later. Ten minutes and an hour are exact up to
//! [`MAX_RECENT`] events (then they say "at least so many"); a day is made of panes of two hours, 7 and 30 days of panes of
//! a day. Memory is bounded by the four constants; a typical customer takes about 300 bytes.
//! Deliberately absent: what is unusual. This only answers what was before.

use super::groups::Keep;
use crate::record::{Answer, EntityKind, pair};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Length of the panes of the day window.
const SHORT_PANE_MS: i64 = 2 * HOUR_MS;
/// Exact events kept for the windows up to an hour; counts saturate there.
pub const MAX_RECENT: usize = 64;
/// Partners (country, device, card, customer) kept; the one unseen for longest goes.
pub const MAX_PARTNERS: usize = 24;
/// The mean forgets: a new amount weighs at least 1/so much.
const MEMORY: u32 = 200;
/// An entity idle for longer may be evicted before others.
const ACTIVE_MS: i64 = DAY_MS;

/// Things an event can be besides an event.
pub mod flag {
    /// A failed payment or login.
    pub const FAILURE: u8 = 1;
    /// A refund or return.
    pub const REFUND: u8 = 2;
    /// A coupon was used in an order, or refused.
    pub const COUPON: u8 = 4;
    /// Older than the allowed lateness: counted, but moves no mean.
    pub const LATE: u8 = 8;
}

/// One touch of an entity by an event.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Touch {
    /// `xxh3_64` of kind and id.
    pub key: u64,
    /// Partition and offset in one number: the order in which a closed epoch is applied.
    pub order: u64,
    /// Event time.
    pub time_ms: i64,
    /// Hashes of country, device, card, customer of the event; 0 = none.
    pub partners: [u32; 4],
    /// Amount (product: price; series: value), `NAN` = none.
    pub amount: f32,
    /// Where the answer goes in its batch.
    pub place: u32,
    /// The worker that waits for the answer.
    pub home: u16,
    /// [`EntityKind`] as a number.
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
}

#[derive(Clone, Debug, PartialEq, bitcode::Encode, bitcode::Decode)]
struct Recent {
    time_ms: i64,
    amount: f32,
    failure: bool,
}

#[derive(Clone, Debug, PartialEq, bitcode::Encode, bitcode::Decode)]
struct Pane {
    /// Number of the pane since the epoch; negative for those of two hours, to keep both in one list.
    index: i32,
    count: u32,
    sum: f32,
    refunds: u16,
    coupons: u16,
}

#[derive(Clone, Debug, PartialEq, bitcode::Encode, bitcode::Decode)]
struct Partner {
    place: u8,
    hash: u32,
    last_s: u32,
}

/// State of one entity.
#[derive(Clone, Debug, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct EntityState {
    first_ms: i64,
    last_ms: i64,
    recent: Vec<Recent>,
    panes: Vec<Pane>,
    partners: Vec<Partner>,
    amounts: u32,
    mean: f32,
    variance: f32,
    max: f32,
}

impl Keep for EntityState {
    fn active(&self, now_ms: i64) -> bool {
        now_ms - self.last_ms < ACTIVE_MS
    }
}

/// Room for one more and half of what is there: most entities are seen once or twice, and a `Vec` left alone makes room for
/// four at once.
fn make_room<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(1 + list.len() / 2);
    }
}
fn short_pane(time_ms: i64) -> i32 {
    -1 - (time_ms.div_euclid(SHORT_PANE_MS) as i32)
}
fn day_pane(time_ms: i64) -> i32 {
    time_ms.div_euclid(DAY_MS) as i32
}

impl EntityState {
    /// Nothing seen yet; it begins at this event time.
    pub fn new(time_ms: i64) -> Self {
        EntityState {
            first_ms: time_ms,
            last_ms: i64::MIN,
            recent: Vec::new(),
            panes: Vec::new(),
            partners: Vec::new(),
            amounts: 0,
            mean: 0.0,
            variance: 0.0,
            max: 0.0,
        }
    }

    /// Answers what was before this event, then takes it in.
    pub fn touch(&mut self, touch: &Touch) -> Answer {
        let now_ms = touch.time_ms.max(self.last_ms);
        self.prune(now_ms);
        let answer = self.answer(touch, now_ms);
        self.take(touch, now_ms);
        answer
    }

    fn prune(&mut self, now_ms: i64) {
        self.recent.retain(|r| r.time_ms > now_ms - HOUR_MS);
        let (day, short) = (day_pane(now_ms), short_pane(now_ms));
        self.panes.retain(|p| if p.index < 0 { p.index < short + 12 } else { p.index > day - 30 });
    }

    fn answer(&self, touch: &Touch, now_ms: i64) -> Answer {
        let mut a = Answer { age_s: (now_ms - self.first_ms) as f32 / 1000.0, ..Answer::default() };
        if self.last_ms != i64::MIN {
            a.gap_s = (touch.time_ms - self.last_ms).max(0) as f32 / 1000.0;
        }
        for r in &self.recent {
            let within_10m = r.time_ms > now_ms - 10 * MINUTE_MS;
            a.counts[1] += 1;
            a.sums[1] += r.amount;
            a.failures[1] += u16::from(r.failure);
            a.counts[0] += u32::from(within_10m);
            a.sums[0] += if within_10m { r.amount } else { 0.0 };
            a.failures[0] += u16::from(within_10m && r.failure);
        }
        let week = day_pane(now_ms) - 7;
        for p in &self.panes {
            if p.index < 0 {
                a.counts[2] += p.count;
                a.sums[2] += p.sum;
                a.coupons_1d = a.coupons_1d.saturating_add(p.coupons);
                continue;
            }
            a.counts[4] += p.count;
            a.sums[4] += p.sum;
            a.refunds_30d = a.refunds_30d.saturating_add(p.refunds);
            if p.index > week {
                a.counts[3] += p.count;
                a.sums[3] += p.sum;
            }
        }
        (a.amounts, a.mean, a.max_amount) = (self.amounts, self.mean, self.max);
        a.deviation = self.variance.sqrt();
        self.answer_partners(touch, now_ms, &mut a);
        a
    }

    fn answer_partners(&self, touch: &Touch, now_ms: i64, a: &mut Answer) {
        let day_ago_s = ((now_ms - DAY_MS) / 1000).max(0) as u32;
        let mut known = [false; 4];
        let mut any = [false; 4];
        for p in &self.partners {
            let i = usize::from(p.place);
            a.distinct_1d[i] += u16::from(p.last_s > day_ago_s);
            any[i] = true;
            known[i] |= p.hash == touch.partners[i];
        }
        for i in [pair::COUNTRY, pair::DEVICE, pair::CARD, pair::CUSTOMER] {
            if touch.partners[i] != 0 && any[i] && !known[i] {
                a.new_pair |= 1 << i;
            }
        }
    }

    fn take(&mut self, touch: &Touch, now_ms: i64) {
        self.last_ms = now_ms;
        self.first_ms = self.first_ms.min(touch.time_ms);
        let amount = if touch.amount.is_finite() { touch.amount } else { 0.0 };
        if touch.time_ms > now_ms - HOUR_MS {
            if self.recent.len() == MAX_RECENT {
                self.recent.remove(0);
            }
            let failure = touch.flags & flag::FAILURE != 0;
            make_room(&mut self.recent);
            self.recent.push(Recent { time_ms: touch.time_ms, amount, failure });
        }
        let (short, day) = (short_pane(touch.time_ms), day_pane(touch.time_ms));
        if short < short_pane(now_ms) + 12 {
            self.count(short, touch, amount);
        }
        if day > day_pane(now_ms) - 30 {
            self.count(day, touch, amount);
        }
        if touch.amount.is_finite() && touch.flags & flag::LATE == 0 {
            self.learn(touch.amount);
        }
        for (place, hash) in touch.partners.iter().enumerate().filter(|p| *p.1 != 0) {
            self.meet(place as u8, *hash, (now_ms / 1000).max(0) as u32);
        }
    }

    fn count(&mut self, index: i32, touch: &Touch, amount: f32) {
        let at = self.panes.iter().rposition(|p| p.index == index).unwrap_or_else(|| {
            make_room(&mut self.panes);
            self.panes.push(Pane { index, count: 0, sum: 0.0, refunds: 0, coupons: 0 });
            self.panes.len() - 1
        });
        let Some(pane) = self.panes.get_mut(at) else { return };
        pane.count += 1;
        pane.sum += amount;
        pane.refunds = pane.refunds.saturating_add(u16::from(touch.flags & flag::REFUND != 0));
        pane.coupons = pane.coupons.saturating_add(u16::from(touch.flags & flag::COUPON != 0));
    }

    /// Mean and variance of asinh(amount) with a memory (West 1979, weight at least 1/`MEMORY`).
    fn learn(&mut self, amount: f32) {
        let x = libm::asinhf(amount);
        self.amounts = self.amounts.saturating_add(1);
        let weight = 1.0 / self.amounts.min(MEMORY) as f32;
        let delta = x - self.mean;
        self.mean += weight * delta;
        self.variance = (1.0 - weight) * (self.variance + weight * delta * delta);
        self.max = self.max.max(amount);
    }

    fn meet(&mut self, place: u8, hash: u32, now_s: u32) {
        if let Some(p) = self.partners.iter_mut().find(|p| p.place == place && p.hash == hash) {
            p.last_s = p.last_s.max(now_s);
            return;
        }
        if self.partners.len() == MAX_PARTNERS {
            let oldest = (0..self.partners.len()).min_by_key(|i| self.partners[*i].last_s).unwrap_or(0);
            self.partners.remove(oldest);
        }
        make_room(&mut self.partners);
        self.partners.push(Partner { place, hash, last_s: now_s });
    }

    /// Bytes it takes, with what it points to.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.recent.capacity() * size_of::<Recent>()
            + self.panes.capacity() * size_of::<Pane>()
            + self.partners.capacity() * size_of::<Partner>()
    }
}

/// Entities of a kind kept in a key-group. At the bound the first-born that was idle for a day goes (counted).
pub fn cap_per_group(kind: EntityKind) -> usize {
    match kind {
        EntityKind::Customer | EntityKind::Device | EntityKind::Ip | EntityKind::Email => 2048,
        EntityKind::Card | EntityKind::Session => 1024,
        EntityKind::Product | EntityKind::Extra => 512,
        EntityKind::Series => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn touch(time_ms: i64, amount: f32, flags: u8) -> Touch {
        Touch { time_ms, amount, flags, ..Touch::default() }
    }

    proptest! {
        /// Short windows are exact: equal to counting over the whole list, whatever the order of arrival.
        #[test]
        fn short_windows_are_exact(steps in proptest::collection::vec((0i64..90, 0u8..2), 1..60)) {
            let (mut state, mut all, mut latest) = (EntityState::new(0), Vec::<(i64, u8)>::new(), i64::MIN);
            let mut base = 1_700_000_000_000;
            for (minutes, failure) in steps {
                let time = base + (minutes - 30) * MINUTE_MS;
                base += MINUTE_MS;
                let now = latest.max(time);
                let within = |window: i64| all.iter().filter(|e| e.0 > now - window).count() as u32;
                let failed = all.iter().filter(|e| e.0 > now - HOUR_MS && e.1 == flag::FAILURE).count() as u16;
                let a = state.touch(&touch(time, 1.0, failure));
                prop_assert_eq!((a.counts[0], a.counts[1]), (within(10 * MINUTE_MS), within(HOUR_MS)));
                prop_assert_eq!(a.failures[1], failed);
                // an event that was already too old for the hour when it came is not in it
                if time > now - HOUR_MS { all.push((time, failure)); }
                latest = now;
            }
        }

        /// Long windows are right to a pane: between the exact window less a pane and the exact window.
        #[test]
        fn long_windows_are_right_to_a_pane(gaps in proptest::collection::vec(0i64..40, 1..200)) {
            let (mut state, mut all, mut now) = (EntityState::new(0), Vec::<i64>::new(), 1_700_000_000_000i64);
            for gap in gaps {
                now += gap * HOUR_MS;
                let a = state.touch(&touch(now, 1.0, 0));
                let within = |window: i64| all.iter().filter(|t| **t > now - window).count() as u32;
                prop_assert!(a.counts[2] <= within(DAY_MS) && a.counts[2] >= within(DAY_MS - SHORT_PANE_MS));
                prop_assert!(a.counts[3] <= within(7 * DAY_MS) && a.counts[3] >= within(6 * DAY_MS));
                prop_assert!(a.counts[4] <= within(30 * DAY_MS) && a.counts[4] >= within(29 * DAY_MS));
                all.push(now);
            }
        }
    }

    #[test]
    fn a_typical_customer_is_small() {
        let mut state = EntityState::new(0);
        for week in 0..4 {
            for (i, flags) in [0, 0, 0].into_iter().enumerate() {
                let mut t = touch(1_700_000_000_000 + week * 7 * DAY_MS + i as i64 * MINUTE_MS, 30.0, flags);
                t.partners = [1, 2, 3, 0];
                state.touch(&t);
            }
        }
        assert!(state.bytes() <= 420, "{} bytes", state.bytes());
    }

    #[test]
    fn a_new_partner_is_noticed_only_beside_known_ones() {
        let mut state = EntityState::new(0);
        let mut t = touch(1_700_000_000_000, 1.0, 0);
        t.partners = [7, 0, 0, 0];
        assert_eq!(state.touch(&t).new_pair, 0, "the first country is not new, everything is");
        t.partners = [8, 0, 0, 0];
        assert_eq!(state.touch(&t).new_pair, 1 << pair::COUNTRY);
        assert_eq!(state.touch(&t).new_pair, 0);
        assert_eq!(state.touch(&t).distinct_1d[pair::COUNTRY], 2);
    }
}
