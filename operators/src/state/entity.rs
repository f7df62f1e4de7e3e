//! What is kept of an entity: exact recent events, panes for long windows, moments of amounts, partners seen with it.
//!
//! Windows end at the entity's latest time, or at the event's own when that is later. Ten minutes and an hour are exact up to
//! [`MAX_RECENT`] events (then they say "at least so many"); a day is made of panes of two hours, 7 and 30 days of panes of
//! a day. Memory is bounded by the four constants; a typical customer takes about 250 bytes.
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
    /// No event's: what is kept of the entity is to be forgotten.
    pub const FORGET: u8 = 128;
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

/// State of one entity. Its lists are one allocation, because most entities are seen once or twice and there are millions:
/// panes, partners and recent events behind each other, as words of 32 bits.
#[derive(Clone, Debug, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct EntityState {
    first_ms: i64,
    last_ms: i64,
    amounts: u32,
    mean: f32,
    variance: f32,
    max: f32,
    lists: Box<[u32]>,
    panes: u8,
    partners: u8,
}

impl Keep for EntityState {
    fn active(&self, now_ms: i64) -> bool {
        now_ms - self.last_ms < ACTIVE_MS
    }
}

/// Words of a recent event: when (see [`mark`]), amount.
const RECENT: usize = 2;
/// Words of a pane: its number since the epoch (negative for those of two hours, to keep both in one list), count, sum, and
/// refunds with coupons in the upper half.
const PANE: usize = 4;
/// Words of a partner: which, hash, when it was seen last in s.
const PARTNER: usize = 3;

/// Time of a recent event, modulo 25 days, with its failure in the lowest bit. Enough, because all of them go when an hour has
/// passed since the last.
fn mark(time_ms: i64, failure: bool) -> u32 {
    (time_ms << 1) as u32 | u32::from(failure)
}
/// How long before `now_ms` that was.
fn age_ms(mark: u32, now_ms: i64) -> i64 {
    i64::from(((now_ms << 1) as u32).wrapping_sub(mark & !1) >> 1)
}
/// Puts words before those at `at`; the list is as large as it must be.
fn insert<const N: usize>(words: &mut Vec<u32>, at: usize, new: [u32; N]) {
    words.reserve_exact(N);
    words.extend_from_slice(&new);
    if let Some(behind) = words.get_mut(at..) {
        behind.rotate_right(N);
    }
}
/// Keeps those of the items of `N` words in `words[from..to]` for which `keep` says so; how many words are gone.
fn retain<const N: usize>(words: &mut Vec<u32>, from: usize, to: usize, keep: impl Fn(&[u32; N]) -> bool) -> usize {
    let items = words.get(from..to).unwrap_or_default();
    if items.as_chunks::<N>().0.iter().all(&keep) {
        return 0;
    }
    let (items, mut kept) = (words.get_mut(from..to).unwrap_or_default().as_chunks_mut::<N>().0, 0);
    for at in 0..items.len() {
        if keep(&items[at]) {
            items[kept] = items[at];
            kept += 1;
        }
    }
    let gone = to - from - N * kept;
    words.drain(from + N * kept..to);
    gone
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
            amounts: 0,
            mean: 0.0,
            variance: 0.0,
            max: 0.0,
            lists: Box::default(),
            panes: 0,
            partners: 0,
        }
    }

    /// Something of what it points to: see [`super::groups::KeyGroups::look`].
    pub fn look(&self) -> u32 {
        self.lists.first().copied().unwrap_or(0)
    }

    /// Answers what was before this event, then takes it in.
    pub fn touch(&mut self, touch: &Touch) -> Answer {
        let now_ms = touch.time_ms.max(self.last_ms);
        let mut words = std::mem::take(&mut self.lists).into_vec();
        if words.is_empty() {
            let partners = touch.partners.iter().filter(|hash| **hash != 0).count();
            words.reserve_exact(RECENT + 2 * PANE + partners * PARTNER);
        } else {
            self.prune(&mut words, now_ms);
        }
        let answer = self.answer(&words, touch, now_ms);
        self.take(&mut words, touch, now_ms);
        self.lists = words.into_boxed_slice();
        answer
    }

    /// Where partners and recent events begin.
    fn places(&self) -> (usize, usize) {
        let partners = PANE * usize::from(self.panes);
        (partners, partners + PARTNER * usize::from(self.partners))
    }

    fn prune(&mut self, words: &mut Vec<u32>, now_ms: i64) {
        let (partners, recent) = self.places();
        if now_ms.saturating_sub(self.last_ms) >= HOUR_MS {
            words.truncate(recent);
        } else {
            let end = words.len();
            retain::<RECENT>(words, recent, end, |r| age_ms(r[0], now_ms) < HOUR_MS);
        }
        let (day, short) = (day_pane(now_ms), short_pane(now_ms));
        let current = |p: &[u32; PANE]| {
            let index = p[0] as i32;
            if index < 0 { index < short + 12 } else { index > day - 30 }
        };
        self.panes -= (retain::<PANE>(words, 0, partners, current) / PANE) as u8;
    }

    fn answer(&self, words: &[u32], touch: &Touch, now_ms: i64) -> Answer {
        let mut a = Answer { age_s: (now_ms - self.first_ms) as f32 / 1000.0, ..Answer::default() };
        if self.last_ms != i64::MIN {
            a.gap_s = (touch.time_ms - self.last_ms).max(0) as f32 / 1000.0;
        }
        let (partners, recent) = self.places();
        for [when, amount] in words.get(recent..).unwrap_or_default().as_chunks().0 {
            let (amount, failure) = (f32::from_bits(*amount), when & 1 == 1);
            let within_10m = age_ms(*when, now_ms) < 10 * MINUTE_MS;
            a.counts[1] += 1;
            a.sums[1] += amount;
            a.failures[1] += u16::from(failure);
            a.counts[0] += u32::from(within_10m);
            a.sums[0] += if within_10m { amount } else { 0.0 };
            a.failures[0] += u16::from(within_10m && failure);
        }
        let week = day_pane(now_ms) - 7;
        for [index, count, sum, rare] in words.get(..partners).unwrap_or_default().as_chunks().0 {
            let (index, sum, refunds, coupons) =
                (*index as i32, f32::from_bits(*sum), *rare as u16, (rare >> 16) as u16);
            if index < 0 {
                a.counts[2] += count;
                a.sums[2] += sum;
                a.coupons_1d = a.coupons_1d.saturating_add(coupons);
                continue;
            }
            a.counts[4] += count;
            a.sums[4] += sum;
            a.refunds_30d = a.refunds_30d.saturating_add(refunds);
            if index > week {
                a.counts[3] += count;
                a.sums[3] += sum;
            }
        }
        (a.amounts, a.mean, a.max_amount) = (self.amounts, self.mean, self.max);
        a.deviation = self.variance.sqrt();
        answer_partners(words.get(partners..recent).unwrap_or_default(), touch, now_ms, &mut a);
        a
    }

    fn take(&mut self, words: &mut Vec<u32>, touch: &Touch, now_ms: i64) {
        self.last_ms = now_ms;
        self.first_ms = self.first_ms.min(touch.time_ms);
        let amount = if touch.amount.is_finite() { touch.amount } else { 0.0 };
        if touch.time_ms > now_ms - HOUR_MS {
            let (_, recent) = self.places();
            if words.len() >= recent + MAX_RECENT * RECENT {
                words.drain(recent..recent + RECENT);
            }
            let failure = touch.flags & flag::FAILURE != 0;
            let end = words.len();
            insert(words, end, [mark(touch.time_ms, failure), amount.to_bits()]);
        }
        let (short, day) = (short_pane(touch.time_ms), day_pane(touch.time_ms));
        if short < short_pane(now_ms) + 12 {
            self.count(words, short, touch, amount);
        }
        if day > day_pane(now_ms) - 30 {
            self.count(words, day, touch, amount);
        }
        if touch.amount.is_finite() && touch.flags & flag::LATE == 0 {
            self.learn(touch.amount);
        }
        for (place, hash) in touch.partners.iter().enumerate().filter(|p| *p.1 != 0) {
            self.meet(words, place as u32, *hash, (now_ms / 1000).max(0) as u32);
        }
    }

    fn count(&mut self, words: &mut Vec<u32>, index: i32, touch: &Touch, amount: f32) {
        let (end, _) = self.places();
        let panes = words.get_mut(..end).unwrap_or_default().as_chunks_mut::<PANE>().0;
        let (refund, coupon) = (touch.flags & flag::REFUND != 0, touch.flags & flag::COUPON != 0);
        match panes.iter_mut().rev().find(|p| p[0] as i32 == index) {
            Some([_, count, sum, rare]) => {
                *count += 1;
                *sum = (f32::from_bits(*sum) + amount).to_bits();
                let (refunds, coupons) = (*rare as u16, (*rare >> 16) as u16);
                *rare = u32::from(refunds.saturating_add(u16::from(refund)))
                    | u32::from(coupons.saturating_add(u16::from(coupon))) << 16;
            }
            None => {
                let rare = u32::from(refund) | u32::from(coupon) << 16;
                // 0 + amount, as every later sum begins: -0.0 is no sum
                insert(words, end, [index as u32, 1, (0.0 + amount).to_bits(), rare]);
                self.panes += 1;
            }
        }
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

    fn meet(&mut self, words: &mut Vec<u32>, place: u32, hash: u32, now_s: u32) {
        let (from, to) = self.places();
        let partners = words.get_mut(from..to).unwrap_or_default().as_chunks_mut::<PARTNER>().0;
        if let Some(p) = partners.iter_mut().find(|p| p[0] == place && p[1] == hash) {
            p[2] = p[2].max(now_s);
            return;
        }
        if partners.len() < MAX_PARTNERS {
            insert(words, to, [place, hash, now_s]);
            self.partners += 1;
        } else if let Some(oldest) = (0..partners.len()).min_by_key(|i| partners[*i][2])
            && let Some(behind) = partners.get_mut(oldest..)
        {
            behind.rotate_left(1);
            behind.last_mut().into_iter().for_each(|p| *p = [place, hash, now_s]);
        }
    }

    /// Bytes it takes, with what it points to.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.lists)
    }
}

fn answer_partners(partners: &[u32], touch: &Touch, now_ms: i64, a: &mut Answer) {
    let day_ago_s = ((now_ms - DAY_MS) / 1000).max(0) as u32;
    let mut known = [false; 4];
    let mut any = [false; 4];
    for [place, hash, last_s] in partners.as_chunks().0 {
        let i = (*place & 3) as usize;
        a.distinct_1d[i] += u16::from(*last_s > day_ago_s);
        any[i] = true;
        known[i] |= *hash == touch.partners[i];
    }
    for i in [pair::COUNTRY, pair::DEVICE, pair::CARD, pair::CUSTOMER] {
        if touch.partners[i] != 0 && any[i] && !known[i] {
            a.new_pair |= 1 << i;
        }
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
        assert!(state.bytes() <= 260, "{} bytes", state.bytes());
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
