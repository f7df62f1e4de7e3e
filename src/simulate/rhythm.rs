//! When people shop: hour of the day, day of the week, good days and bad days, in the customers' own time zones.
//!
//! Deliberately absent: trouble and campaigns; the shop multiplies by them.

use jiff::tz::TimeZone;

use super::config::{DAY_MS, HOUR_MS};
use super::geo;
use super::rng::{Rng, mix};

/// Share of visits by hour of the day against the mean: asleep at four, a small peak at noon, the large one at eight.
const ONLINE_HOURS: [f64; 24] = [
    0.45, 0.25, 0.16, 0.12, 0.12, 0.18, 0.38, 0.66, 0.90, 1.06, 1.14, 1.18, 1.24, 1.20, 1.12, 1.12, 1.18, 1.30, 1.50,
    1.80, 1.98, 1.82, 1.40, 0.84,
];
/// By day of the week from Monday.
const ONLINE_DAYS: [f64; 7] = [1.06, 1.00, 0.98, 0.99, 0.92, 0.90, 1.15];
/// Branches are open from 9 to 20, with a peak after work.
const BRANCH_HOURS: [f64; 24] = [
    0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.6, 2.0, 2.3, 2.0, 1.8, 2.0, 2.5, 3.0, 3.2, 2.6, 0.0, 0.0, 0.0,
    0.0,
];
/// Branches are closed on Sundays.
const BRANCH_DAYS: [f64; 7] = [0.95, 0.95, 1.0, 1.05, 1.25, 1.8, 0.0];
/// Deviation of the logarithm of a day's level and of an hour's level: shops are busier or quieter for no reason.
const DAY_NOISE: f64 = 0.07;
/// See [`DAY_NOISE`].
const HOUR_NOISE: f64 = 0.05;

/// The clock of one country, with its offset looked up once an hour.
struct Clock {
    zone: Option<TimeZone>,
    hour: i64,
    offset_ms: i64,
}

/// Rhythms of all countries.
pub(super) struct Rhythm {
    seed: u64,
    flat: bool,
    shift_ms: i64,
    clocks: Vec<Clock>,
    online: [f64; 168],
    branch: [f64; 168],
}

/// Hours of a week from Monday, scaled to mean 1.
fn week(hours: &[f64; 24], days: &[f64; 7]) -> [f64; 168] {
    let mut week = [0.0; 168];
    for (place, value) in week.iter_mut().enumerate() {
        *value = days[place / 24] * hours[place % 24];
    }
    let mean = week.iter().sum::<f64>() / 168.0;
    week.map(|value| value / mean)
}

impl Rhythm {
    /// `flat`: always 1. `shift_ms` moves all clocks.
    pub fn new(seed: u64, flat: bool, shift_ms: i64) -> Rhythm {
        let clock =
            |country: &geo::Country| Clock { zone: TimeZone::get(country.zone).ok(), hour: i64::MIN, offset_ms: 0 };
        Rhythm {
            seed,
            flat,
            shift_ms,
            clocks: geo::COUNTRIES.iter().map(clock).collect(),
            online: week(&ONLINE_HOURS, &ONLINE_DAYS),
            branch: week(&BRANCH_HOURS, &BRANCH_DAYS),
        }
    }

    /// What the clocks of a country show, as ms since the epoch read as local time.
    pub fn local_ms(&mut self, country: u8, at_ms: i64) -> i64 {
        let hour = at_ms.div_euclid(HOUR_MS);
        let Some(clock) = self.clocks.get_mut(usize::from(country)) else { return at_ms };
        if clock.hour != hour {
            clock.hour = hour;
            let offset = match (&clock.zone, jiff::Timestamp::from_millisecond(hour * HOUR_MS)) {
                (Some(zone), Ok(moment)) => zone.to_offset(moment).seconds(),
                _ => 0,
            };
            clock.offset_ms = i64::from(offset) * 1000;
        }
        at_ms + clock.offset_ms + self.shift_ms
    }

    /// Hour of the day on the clocks of a country, 0 to 24.
    pub fn local_hour(&mut self, country: u8, at_ms: i64) -> f64 {
        self.local_ms(country, at_ms).rem_euclid(DAY_MS) as f64 / HOUR_MS as f64
    }

    /// How busy a country's customers are at a time, mean 1 over a week, without the noise of [`Rhythm::level`].
    pub fn online(&mut self, country: u8, at_ms: i64) -> f64 {
        if self.flat {
            return 1.0;
        }
        let local = self.local_ms(country, at_ms);
        between(&self.online, local)
    }

    /// How busy the branches of a country are; 0 when closed.
    pub fn branch(&mut self, country: u8, at_ms: i64) -> f64 {
        if self.flat {
            return 1.0;
        }
        let hour = hour_of_week(self.local_ms(country, at_ms));
        self.branch.get(hour).copied().unwrap_or_default()
    }

    /// Good and bad days and hours of the whole shop, mean about 1.
    pub fn level(&self, at_ms: i64) -> f64 {
        if self.flat {
            return 1.0;
        }
        let noise = |unit_ms: i64, sigma: f64| {
            let mut rng = Rng::new(mix(self.seed, unit_ms as u64), at_ms.div_euclid(unit_ms) as u64);
            rng.lognormal(1.0, sigma)
        };
        noise(DAY_MS, DAY_NOISE) * noise(HOUR_MS, HOUR_NOISE)
    }
}

/// Hour of the week from Monday 00:00. The epoch was a Thursday.
fn hour_of_week(local_ms: i64) -> usize {
    (local_ms.div_euclid(HOUR_MS) + 72).rem_euclid(168) as usize
}

/// Straight line between the middles of two hours.
fn between(week: &[f64; 168], local_ms: i64) -> f64 {
    let moved = local_ms - HOUR_MS / 2;
    let hour = hour_of_week(moved);
    let share = moved.rem_euclid(HOUR_MS) as f64 / HOUR_MS as f64;
    let value = |place: usize| week.get(place % 168).copied().unwrap_or_default();
    value(hour) * (1.0 - share) + value(hour + 1) * share
}
