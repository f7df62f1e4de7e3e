//! What is usual at an hour: a profile by hour of the week, by hour of the day until two weeks are there.
//!
//! Hours are those of the shop's time zone. Forgets exponentially, and one odd hour moves it only so far.

use bitcode::{Decode, Encode};

/// Minutes of a week.
pub const WEEK_MIN: i32 = 7 * 24 * 60;
/// Hours of history from which on a series is judged.
pub const JUDGED_FROM_H: u32 = 24;
/// Hours of history from which on weekdays are told apart.
pub const WEEKLY_FROM_H: u32 = 14 * 24;
/// Weight of a new hour in the profile of the week, once that hour has been seen often enough.
const WEEK_GAIN: f32 = 0.3;
/// The same for the hours of the day: about a week.
const DAY_GAIN: f32 = 1.0 / 7.0;
/// One hour moves the profile at most as if it had been this many times the usual (or its inverse): a sale is no new rhythm.
const MAX_STEP: f32 = 1.4;
/// The same before weekdays are told apart: they may differ by this much.
const MAX_STEP_EARLY: f32 = 3.0;
/// Days of history before the profile holds against odd hours.
const STEADY_AFTER: f32 = 3.0;
/// Events of its coarser hour that a slot leans on.
const LEAN: f64 = 20.0;
/// A closed hour has less than this share of the mean; a shop that closes does so for so many hours of a day.
const CLOSED: f64 = 0.01;
const CLOSED_HOURS: usize = 6;
/// Weeks before an hour of the week stands for itself: until then what is unusual must be so against the hour of the day too.
const OWN_AFTER: f32 = 3.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
struct Slot {
    rate: f32,
    seen: f32,
}
impl Slot {
    fn learn(&mut self, rate: f32, gain: f32) {
        self.seen = (self.seen + 1.0).min(1.0 / gain);
        self.rate += (rate - self.rate) / self.seen;
    }
}

/// Hour of the week and minute of it.
fn hour_of(minute_of_week: i32) -> (usize, i32) {
    let minute = minute_of_week.rem_euclid(WEEK_MIN);
    ((minute / 60) as usize, minute % 60)
}

/// What an hour of the week says that does not change within it; found again where it is missing.
#[derive(Clone, Copy, Debug)]
struct Near {
    hour: usize,
    support: f64,
    bare: f64,
    /// Hours of the day before and behind the middle of which a minute lies: which, and their rates.
    daily: (usize, f64, f64),
}
impl Default for Near {
    fn default() -> Near {
        Near { hour: usize::MAX, support: 0.0, bare: 0.0, daily: (usize::MAX, 0.0, 0.0) }
    }
}
impl PartialEq for Near {
    fn eq(&self, _: &Near) -> bool {
        true // follows from everything else
    }
}

/// Profile of one series: value per minute.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Rhythm {
    week: Vec<Slot>,
    day: Vec<Slot>,
    mean: Slot,
    hours: u32,
    unit: f64,
    /// [`Rhythm::hourly`] of all hours of the week, made anew with each hour: it is asked for every minute.
    table: Vec<f32>,
    /// The greatest of the table.
    most: f32,
    #[bitcode(skip)]
    near: Near,
}
impl Default for Rhythm {
    fn default() -> Rhythm {
        Rhythm {
            week: vec![Slot::default(); 168],
            day: vec![Slot::default(); 24],
            mean: Slot::default(),
            hours: 0,
            unit: 1.0,
            table: vec![0.0; 168],
            most: 0.0,
            near: Near::default(),
        }
    }
}
impl Rhythm {
    /// Takes up an hour: hour of the week, value per minute in it, standard deviation of that rate by chance alone, clump
    /// size (variance / mean of a minute).
    pub fn learn(&mut self, hour_of_week: usize, rate: f64, noise: f64, unit: f64) {
        self.unit = unit.max(1e-9);
        let (rate, noise) = (rate as f32, noise as f32);
        let usual = self.hourly(hour_of_week) as f32;
        let step = if self.weekly() { MAX_STEP } else { MAX_STEP_EARLY };
        let steady = self.day.get(hour_of_week % 24).is_some_and(|slot| slot.seen >= STEADY_AFTER);
        let rate = if steady { rate.clamp(usual / step - 3.0 * noise, usual * step + 3.0 * noise) } else { rate };
        if let Some(slot) = self.week.get_mut(hour_of_week) {
            slot.learn(rate, WEEK_GAIN);
        }
        if let Some(slot) = self.day.get_mut(hour_of_week % 24) {
            slot.learn(rate, DAY_GAIN);
        }
        self.mean.learn(rate, 1.0 / 168.0);
        self.skip();
    }
    /// Counts an hour that was not learned from, so that history does not stand still.
    pub fn skip(&mut self) {
        self.hours = self.hours.saturating_add(1);
        self.table = (0..168).map(|hour| self.hourly(hour) as f32).collect();
        self.most = self.table.iter().copied().fold(0.0, f32::max);
        self.near = Near::default();
    }
    /// Minutes around this one will be asked for: most follow each other.
    pub fn near(&mut self, minute_of_week: i32) {
        let (hour, _) = hour_of(minute_of_week);
        if self.near.hour != hour {
            let (support, bare) = (self.support_of(hour), self.bare_of(hour));
            self.near = Near { hour, support, bare, ..self.near };
        }
        let (middle, _) = hour_of(minute_of_week - 30);
        if self.near.daily.0 != middle {
            self.near.daily = (middle, self.daily(middle), self.daily((middle + 1) % 168));
        }
    }
    /// Greatest rate of the week: no [`Rhythm::rate`] is above it.
    pub fn most(&self) -> f64 {
        f64::from(self.most)
    }
    /// Hours of history.
    pub fn hours(&self) -> u32 {
        self.hours
    }
    /// Mean value per minute over about a week.
    pub fn mean(&self) -> f64 {
        f64::from(self.mean.rate)
    }
    /// Are weekdays told apart?
    pub fn weekly(&self) -> bool {
        self.hours >= WEEKLY_FROM_H
    }
    /// A slot's rate drawn towards that of a coarser one by [`LEAN`] events: a sparse hour says little for itself.
    fn lean(&self, slot: Slot, coarse: f64) -> f64 {
        let own = 60.0 * f64::from(slot.seen) * coarse / self.unit;
        (own * f64::from(slot.rate) + LEAN * coarse) / (own + LEAN)
    }
    /// Rate of an hour of the day.
    fn daily(&self, hour_of_week: usize) -> f64 {
        self.lean(self.day.get(hour_of_week % 24).copied().unwrap_or_default(), self.mean())
    }
    /// Rate of an hour of the week.
    fn hourly(&self, hour_of_week: usize) -> f64 {
        let daily = self.daily(hour_of_week);
        let week = self.week.get(hour_of_week).copied().unwrap_or_default();
        if self.weekly() { self.lean(week, daily) } else { daily }
    }
    /// In a straight line between the middles of hours.
    fn between(minute_of_week: i32, rate: impl Fn(usize) -> f64) -> f64 {
        let (hour, minute) = hour_of(minute_of_week - 30);
        let part = f64::from(minute) / 60.0;
        rate(hour) * (1.0 - part) + rate(if hour == 167 { 0 } else { hour + 1 }) * part
    }
    /// Value per minute at a minute of the week (any integer, taken round).
    pub fn rate(&self, minute_of_week: i32) -> f64 {
        Self::between(minute_of_week, |hour| self.table.get(hour).copied().map_or(0.0, f64::from))
    }
    /// Events that the rate there rests on.
    pub fn support(&self, minute_of_week: i32) -> f64 {
        let (hour, _) = hour_of(minute_of_week);
        if self.near.hour == hour { self.near.support } else { self.support_of(hour) }
    }
    fn support_of(&self, hour: usize) -> f64 {
        let slots = if self.weekly() { self.week.get(hour) } else { self.day.get(hour % 24) };
        let seen = slots.map_or(0.0, |slot| f64::from(slot.seen));
        LEAN + 60.0 * seen * self.hourly(hour) / self.unit
    }
    /// Was this hour of the week seen before? Until then nobody knows whether the shop is open.
    pub fn knows(&self, minute_of_week: i32) -> bool {
        let (hour, _) = hour_of(minute_of_week);
        self.week.get(hour).is_some_and(|slot| slot.seen >= 1.0)
    }
    /// Does it have closed hours each day? Then it may have closed days as well.
    pub fn closes(&self) -> bool {
        let closed = |slot: &&Slot| slot.seen >= 1.0 && f64::from(slot.rate) < CLOSED * self.mean();
        self.day.iter().filter(closed).count() >= CLOSED_HOURS
    }
    /// The least that the hours around have had themselves, without what they lean on: a closed hour has nothing.
    fn bare(&self, minute_of_week: i32) -> f64 {
        let (hour, _) = hour_of(minute_of_week);
        if self.near.hour == hour { self.near.bare } else { self.bare_of(hour) }
    }
    fn bare_of(&self, hour: usize) -> f64 {
        let of = |hour: usize| {
            let (day, week) = (self.day.get(hour % 24), self.week.get(hour % 168));
            let seen = day.into_iter().chain(week).filter(|slot| slot.seen >= 1.0);
            seen.map(|slot| f64::from(slot.rate)).fold(f64::INFINITY, f64::min)
        };
        [hour, (hour + 1) % 168, (hour + 167) % 168].into_iter().map(of).fold(f64::INFINITY, f64::min)
    }
    /// Least rate that may be missed at a minute of the week: until weekdays are told apart, no more than its hours have had.
    pub fn floor(&self, minute_of_week: i32) -> f64 {
        let rate = self.rate(minute_of_week);
        if self.weekly() { rate } else { rate.min(self.bare(minute_of_week)) }
    }
    /// Least, middle and greatest rate within half an hour either side: what is unusual must be so against all of them.
    pub fn band(&self, minute_of_week: i32) -> (f64, f64, f64) {
        let (a, b, c) = (self.rate(minute_of_week - 30), self.rate(minute_of_week), self.rate(minute_of_week + 30));
        let (low, high) = (a.min(b).min(c), a.max(b).max(c));
        let low = if self.weekly() { low } else { low.min(self.bare(minute_of_week)) };
        let week = self.week.get(hour_of(minute_of_week).0);
        if !self.weekly() || week.is_some_and(|slot| slot.seen >= OWN_AFTER) {
            return (low, b, high);
        }
        let day = Self::between(minute_of_week, |hour| match self.near.daily {
            (middle, rate, _) if middle == hour => rate,
            (middle, _, rate) if middle != usize::MAX && (middle + 1) % 168 == hour => rate,
            _ => self.daily(hour),
        });
        (low.min(day), b, high.max(day))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_the_day_then_the_week() {
        let mut rhythm = Rhythm::default();
        let usual = |h: usize| if h % 24 < 6 { 1.0 } else { 10.0 } * if h / 24 >= 5 { 2.0 } else { 1.0 };
        for h in 0..24 * 21 {
            rhythm.learn(h % 168, usual(h % 168), 0.1, 0.01);
        }
        for h in [3usize, 15, 5 * 24 + 15] {
            let seen = rhythm.rate(h as i32 * 60 + 30);
            assert!((seen / usual(h) - 1.0).abs() < 0.01, "{h}: {seen}");
        }
    }

    #[test]
    fn what_is_kept_for_an_hour_is_what_would_be_found() {
        for hours in [30, 24 * 20] {
            let mut rhythm = Rhythm::default();
            (0..hours).for_each(|h| rhythm.learn(h % 168, (h % 24 * h) as f64 / 100.0, 0.1, 1.5));
            let mut kept = rhythm.clone();
            for minute in -40..WEEK_MIN + 40 {
                kept.near(minute);
                for at in [minute, minute - 30] {
                    assert_eq!((kept.band(at), kept.support(at)), (rhythm.band(at), rhythm.support(at)), "{at}");
                }
            }
        }
    }

    #[test]
    fn a_closed_hour_is_not_missed_in_the_first_days() {
        let mut rhythm = Rhythm::default();
        // open from 9 to 20, three days long
        (0..72).for_each(|h| rhythm.learn(h, if (9..20).contains(&(h % 24)) { 2.0 } else { 0.0 }, 0.1, 1.0));
        let night = 72 * 60 + 3 * 60 + 30;
        assert!(rhythm.rate(night) > 0.05, "it leans on the mean");
        assert_eq!((rhythm.floor(night), rhythm.band(night).0), (0.0, 0.0));
        assert!(rhythm.floor(72 * 60 + 14 * 60) > 1.5 && rhythm.band(72 * 60 + 14 * 60).0 > 1.5);
        assert!(rhythm.closes() && !rhythm.knows(72 * 60) && rhythm.knows(71 * 60));
        let mut open = Rhythm::default();
        (0..72).for_each(|h| open.learn(h, if (9..20).contains(&(h % 24)) { 2.0 } else { 0.1 }, 0.1, 1.0));
        assert!(!open.closes());
    }

    #[test]
    fn one_odd_hour_moves_little() {
        let mut rhythm = Rhythm::default();
        (0..24 * 28).for_each(|h| rhythm.learn(h % 168, 10.0, 0.3, 1.0));
        rhythm.learn(12, 100.0, 0.3, 1.0);
        assert!(rhythm.rate(12 * 60 + 30) < 12.0);
    }
}
