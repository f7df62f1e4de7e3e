//! One series: its last hour by the minute, its rhythm, and the test whether it is unusual now.
//!
//! What is low must be low against the rhythm and against the recent level, and what is high above both: so the end of a
//! sale is no drop, and its start only news when it is far above anything usual. Windows of 1 to 60 minutes are summed, so
//! that a sparse shop notices too; of 3, 6 and 24 hours once an hour.

use super::MINUTE_MS;
use super::key::Metric;
use super::rhythm::{JUDGED_FROM_H, Rhythm};
use super::tail;
use bitcode::{Decode, Encode};

/// Minutes kept: an hour, and what may still be amended (at most an hour).
pub const RING: usize = 128;
/// A minute's value at most, either way: no sum over the minutes kept can overflow.
const CELL_MAX: i64 = 1 << 55;
/// Windows in minutes.
const WINDOWS: [i64; 5] = [1, 5, 15, 30, HOUR_MIN];
/// The longest of them.
const HOUR_MIN: i64 = 60;
/// Clumps that a high value must be above what is usual.
const HIGH_CLUMPS: f64 = 8.0;
/// Clumps that must be usual before a low value says anything.
const LOW_CLUMPS: f64 = 5.0;
/// Windows in hours.
const LONG_WINDOWS: [usize; 3] = [3, 6, 24];
/// Windows up to so many hours look for drops only: a busy afternoon is no incident.
const ONLY_LOW_H: usize = 3;
/// The recent level leaves out the last minutes: an outage must not become its own yardstick.
const LEVEL_LAG: i64 = 15;
/// Minutes of the recent level.
const LEVEL_MIN: i64 = HOUR_MIN - LEVEL_LAG;
/// Pseudo-events that hold the recent level at the rhythm's.
const LEVEL_PRIOR: f64 = 20.0;
/// The recent level counts within these bounds.
const LEVEL_RANGE: (f64, f64) = (0.2, 5.0);
/// Slow level: half of it is forgotten in 6 hours (updated each 15 minutes).
const SLOW_DECAY: f64 = 0.971_532;
/// Relative error of the expectation: floor, start, and what is added before weekdays are told apart.
const SPREAD_FLOOR: f64 = 0.03;
const SPREAD_START: f64 = 0.06;
const SPREAD_NO_WEEK: f64 = 0.15;
/// Events in a quarter hour from which on the error shows at all; below, chance is greater.
const SPREAD_MEASURED_FROM: f64 = 5.0;
/// Added for the windows of hours: they cannot lean on the recent level.
const SPREAD_LONG: f64 = 0.15;
/// Forgetting of the measured spread: about four days of quarter hours.
const SPREAD_GAIN: f64 = 0.005;
/// A series that stays unusual this long is the new usual.
const FROZEN_MAX_MIN: i64 = 48 * 60;
/// Minutes without evidence after which it is usual again.
const QUIET_MIN: u32 = 15;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Side {
    /// Above what is usual.
    High,
    /// Below.
    Low,
}

/// What a test found.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
pub struct Finding {
    /// Which way.
    pub side: Side,
    /// Decades (-log10 p).
    pub decades: f64,
    /// Length of the window, ms.
    pub window_ms: i64,
    /// Value in it.
    pub seen: f64,
    /// Usual value: least, middle, greatest.
    pub expected: (f64, f64, f64),
}

/// The minute as it is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Value of the bucket.
    pub value: i64,
    /// Usual range of the bucket; `None` while there is no history.
    pub expected: Option<(f64, f64)>,
    /// The strongest finding that passes the gates, weak ones too.
    pub finding: Option<Finding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
struct Frozen {
    low: f64,
    high: f64,
    since_min: i64,
    quiet: u32,
}
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
struct Hour {
    sum: f64,
    squares: f64,
    minutes: u32,
}
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
struct Past {
    seen: f64,
    usual: f64,
    least: f64,
}

/// State of a series.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Series {
    metric: Metric,
    ring: Vec<i64>,
    /// Sum of the last hour, kept along: what is too sparse to be unusual needs no second look.
    last_hour: i64,
    /// Sum of the minutes of the fast level, kept along too: it is asked for every minute.
    level: i64,
    first: i64,
    head: i64,
    usual: (f64, f64, f64),
    rhythm: Rhythm,
    variance: f64,
    mean: f64,
    slow: (f64, f64),
    spread: (f64, f64),
    hour: Hour,
    past: Vec<Past>,
    frozen: Option<Frozen>,
}

/// Smallest share of the usual that a high value must reach, largest for a low one; `None`: that side is not watched.
/// Sales, influencers and a busy day of refunds (x3) are no incidents.
fn gates(metric: Metric) -> (Option<f64>, Option<f64>) {
    match metric {
        Metric::Orders => (Some(5.0), Some(0.7)),
        Metric::Revenue => (None, Some(0.7)),
        // many attempts without many orders are somebody who tries cards: rules name them
        Metric::PaymentsAttempted => (None, Some(0.7)),
        Metric::PaymentsAuthorized => (None, Some(0.7)),
        Metric::PaymentsFailed | Metric::RefundAmount => (None, None),
        Metric::AttemptedAgain | Metric::AuthorizedAgain | Metric::FailedAgain => (None, None),
        Metric::Refunds => (Some(4.0), None),
        Metric::Views => (Some(10.0), Some(0.7)),
    }
}

/// Clumps above the usual that are the least for "high": a first customer of a country looks at a dozen pages.
fn least_excess(metric: Metric) -> f64 {
    if metric == Metric::Views { 40.0 } else { HIGH_CLUMPS }
}

impl Series {
    /// A series that begins in this minute.
    pub fn new(metric: Metric, minute: i64) -> Series {
        Series {
            metric,
            ring: vec![0; RING],
            last_hour: 0,
            level: 0,
            first: minute,
            head: minute,
            usual: (0.0, 0.0, 0.0),
            rhythm: Rhythm::default(),
            variance: 0.0,
            mean: 0.0,
            slow: (0.0, 0.0),
            spread: (0.0, 0.0),
            hour: Hour::default(),
            past: Vec::new(),
            frozen: None,
        }
    }
    /// Metric.
    pub fn metric(&self) -> Metric {
        self.metric
    }
    /// First minute it knows of.
    pub fn since(&self) -> i64 {
        self.first
    }
    /// Usual value of the minute judged last: least, middle, greatest.
    pub fn usual(&self) -> (f64, f64, f64) {
        self.usual
    }
    fn at(&self, minute: i64) -> i64 {
        self.ring.get(minute.rem_euclid(RING as i64) as usize).copied().unwrap_or(0)
    }
    /// Value of a minute; 0 when it is not kept.
    pub fn value(&self, minute: i64) -> i64 {
        if minute <= self.head && minute > self.head - RING as i64 { self.at(minute) } else { 0 }
    }
    /// Opens the minutes up to this one, empty.
    pub fn roll(&mut self, minute: i64) {
        if minute - self.head >= HOUR_MIN {
            (self.last_hour, self.level) = (0, 0);
        } else {
            for m in self.head + 1..=minute {
                let (comes, leaves) = (self.value(m - LEVEL_LAG), self.at(m - HOUR_MIN));
                self.last_hour -= leaves;
                self.level += comes - leaves;
            }
        }
        for m in (self.head + 1).max(minute - RING as i64 + 1)..=minute {
            if let Some(cell) = self.ring.get_mut(m.rem_euclid(RING as i64) as usize) {
                *cell = 0;
            }
        }
        self.head = self.head.max(minute);
    }
    /// Adds to a minute; `false` when it is no longer kept.
    pub fn add(&mut self, minute: i64, value: i64) -> bool {
        self.roll(minute);
        let kept = minute > self.head - RING as i64;
        if let (true, Some(cell)) = (kept, self.ring.get_mut(minute.rem_euclid(RING as i64) as usize)) {
            let before = *cell;
            *cell = cell.saturating_add(value).clamp(-CELL_MAX, CELL_MAX);
            let added = *cell - before;
            self.last_hour += if minute > self.head - HOUR_MIN { added } else { 0 };
            let in_level = (self.head - HOUR_MIN + 1..=self.head - LEVEL_LAG).contains(&minute);
            self.level += if in_level { added } else { 0 };
        }
        kept
    }
    /// Is it unusual at the moment?
    pub fn frozen(&self) -> bool {
        self.frozen.is_some()
    }
    /// Mean value per minute.
    pub fn mean(&self) -> f64 {
        self.rhythm.mean()
    }
    /// May it be closed at this time, for all that is known?
    pub fn may_be_closed(&self, week_min: i32) -> bool {
        self.rhythm.closes() && !self.rhythm.knows(week_min)
    }
    /// Forgets the last hour (time was skipped), keeps the rhythm.
    pub fn resume(&mut self, minute: i64) {
        self.ring.iter_mut().for_each(|cell| *cell = 0);
        (self.last_hour, self.level) = (0, 0);
        self.head = minute;
        self.first = minute + 1;
        self.hour = Hour::default();
        self.past.clear();
        self.frozen = None;
        self.slow = (0.0, 0.0);
    }
    fn sum(&self, end: i64, minutes: i64) -> f64 {
        // integers: no order of summation to think of
        let (from, to) = ((end - minutes + 1).max(self.head - RING as i64 + 1), end.min(self.head));
        let (at, n) = (from.rem_euclid(RING as i64) as usize, (to - from + 1).max(0) as usize);
        let (old, new) = self.ring.split_at(at.min(self.ring.len()));
        (new.iter().take(n).sum::<i64>() + old.iter().take(n.saturating_sub(new.len())).sum::<i64>()) as f64
    }
    /// Clump size: variance / mean of a minute, for counts at least 1.
    fn unit(&self) -> f64 {
        let floor = if self.metric.is_money() { 100.0 } else { 1.0 };
        if self.mean > 0.0 { (self.variance / self.mean).max(floor) } else { floor }
    }
    /// Relative error of what is expected over about `hours`, `extra` added.
    fn spread(&self, week_min: i32, hours: f64, extra: f64) -> f64 {
        let start = SPREAD_START * SPREAD_START;
        let measured = if self.spread.1 > 0.0 { self.spread.0 / self.spread.1 } else { start };
        let measured = measured.clamp(SPREAD_FLOOR * SPREAD_FLOOR, 1.0);
        let few = 1.0 / (self.rhythm.support(week_min) * hours);
        let week = if self.rhythm.weekly() { 0.0 } else { SPREAD_NO_WEEK * SPREAD_NO_WEEK };
        (measured + few + week + extra * extra).sqrt()
    }
    /// Factors on the rhythm: the least and greatest of 1 and the recent levels. `fast`: value of the minutes of the fast
    /// level, where that counts too.
    fn levels(&self, week_min: i32, fast: Option<f64>) -> (f64, f64) {
        if let Some(frozen) = self.frozen {
            return (frozen.low, frozen.high);
        }
        let unit = self.unit();
        let ratio = |seen: f64, usual: f64| {
            ((seen / unit + LEVEL_PRIOR) / (usual / unit + LEVEL_PRIOR)).clamp(LEVEL_RANGE.0, LEVEL_RANGE.1)
        };
        let slow = ratio(self.slow.0, self.slow.1);
        let fast = fast.map_or(1.0, |seen| {
            let middle = week_min - (LEVEL_LAG + LEVEL_MIN / 2) as i32;
            ratio(seen, self.rhythm.rate(middle) * LEVEL_MIN as f64)
        });
        (slow.min(fast).min(1.0), slow.max(fast).max(1.0))
    }
    /// The minutes of the fast level.
    fn recent(&self, minute: i64) -> f64 {
        if minute == self.head { self.level as f64 } else { self.sum(minute - LEVEL_LAG, LEVEL_MIN) }
    }
    /// Does it pass the gates, and by how many decades?
    fn test(&self, window_min: i64, seen: f64, expected: (f64, f64, f64), spread: f64) -> Option<Finding> {
        let (high, low) = gates(self.metric);
        let unit = self.unit();
        let short = if window_min < 15 { 0.5 } else { 1.0 };
        let found = |side, yardstick| {
            let decades = tail::count(seen, yardstick, unit, spread);
            Some(Finding { side, decades, window_ms: window_min * MINUTE_MS, seen, expected })
        };
        // night hours have next to no rate of their own: a part of the mean is the least that "high" is measured against
        let yardstick = expected.2.max(0.3 * self.rhythm.mean() * window_min as f64);
        let excess = (seen - yardstick) / unit;
        if high.is_some_and(|gate| seen >= gate * yardstick && excess >= least_excess(self.metric)) {
            return found(Side::High, yardstick);
        }
        if low.is_some_and(|gate| seen <= (gate * short).max(0.4) * expected.0 && expected.0 / unit >= LOW_CLUMPS) {
            return found(Side::Low, expected.0);
        }
        None
    }
    /// Can any window of minutes pass the gates? Says no for most series, for they are sparse, without looking at one.
    fn worth_testing(&self) -> bool {
        let (high, low) = gates(self.metric);
        let unit = self.unit();
        // counts only are watched for high values: no window holds more than the hour
        let many = high.is_some() && self.last_hour as f64 / unit >= HIGH_CLUMPS;
        // a little more than the highest rate, for what rounding adds
        many || low.is_some() && self.rhythm.most() * 1.001 * HOUR_MIN as f64 / unit >= LOW_CLUMPS
    }
    /// Judges the minute that has closed; `week_min`: minute of the week at its end, in the shop's time zone. The usual range
    /// is worked out where it is `wanted`.
    pub fn judge(&mut self, minute: i64, week_min: i32, wanted: bool) -> Judged {
        self.roll(minute);
        let value = self.value(minute);
        let mut judged = Judged { value, expected: None, finding: None };
        let test = self.worth_testing();
        if self.rhythm.hours() < JUDGED_FROM_H || !(test || wanted) {
            return judged;
        }
        self.rhythm.near(week_min);
        let spread = self.spread(week_min, 1.0, 0.0);
        let fast = self.levels(week_min, Some(self.recent(minute)));
        if test {
            judged.finding = self.test_windows(minute, week_min, spread, fast);
        }
        let (low, middle, high) = self.rhythm.band(week_min);
        self.usual = (low * fast.0, middle, high * fast.1);
        judged.expected = Some(self.usual_range(spread));
        judged
    }
    /// The strongest finding of all windows of minutes.
    fn test_windows(&self, minute: i64, week_min: i32, spread: f64, fast: (f64, f64)) -> Option<Finding> {
        let slow = self.levels(week_min, None);
        let mut best: Option<Finding> = None;
        for window in WINDOWS {
            let sum = self.sum(minute, window);
            let (low, middle, high) = self.rhythm.band(week_min - (window / 2) as i32);
            let w = window as f64;
            let (down, up) = if window <= LEVEL_LAG { fast } else { slow };
            let expected = (low * w * down, middle * w, high * w * up);
            if let Some(f) = self.test(window, sum, expected, spread)
                && best.is_none_or(|b| f.decades > b.decades)
            {
                best = Some(f);
            }
        }
        best
    }
    /// Range in which a minute's value usually lies, at the level of the minute judged last; `None` while there is no
    /// history.
    pub fn range(&self, week_min: i32) -> Option<(f64, f64)> {
        if self.rhythm.hours() < JUDGED_FROM_H {
            return None;
        }
        Some(self.usual_range(self.spread(week_min, 1.0, 0.0)))
    }
    fn usual_range(&self, spread: f64) -> (f64, f64) {
        let unit = self.unit();
        let deviation = |m: f64| 3.0 * (m * unit + m * m * spread * spread).sqrt();
        let (low, _, high) = self.usual;
        ((low - deviation(low)).max(0.0), high + deviation(high))
    }
    /// Says whether this minute was unusual: while it is, the yardstick stands still and nothing is learned.
    pub fn mark(&mut self, minute: i64, week_min: i32, unusual: bool) {
        match (&mut self.frozen, unusual) {
            (None, true) => {
                let (low, high) = self.levels(week_min, None);
                self.frozen = Some(Frozen { low, high, since_min: minute, quiet: 0 });
            }
            (None, false) => {}
            (Some(frozen), unusual) => {
                frozen.quiet = if unusual { 0 } else { frozen.quiet + 1 };
                if frozen.quiet >= QUIET_MIN || minute - frozen.since_min > FROZEN_MAX_MIN {
                    self.frozen = None;
                }
            }
        }
    }
    /// Learns from a minute that can no longer be amended. Returns what the windows of hours found when an hour ended with it.
    pub fn learn(&mut self, minute: i64, week_min: i32) -> Option<Finding> {
        let value = self.value(minute) as f64;
        if self.frozen.is_none() {
            self.hour.sum += value;
            self.hour.squares += value * value;
            self.hour.minutes += 1;
            if week_min % 15 == 0 && self.rhythm.hours() >= JUDGED_FROM_H {
                self.learn_quarter(minute, week_min);
            }
        }
        (week_min % 60 == 0).then(|| self.learn_hour(week_min)).flatten()
    }
    /// How good was the expectation of the last quarter hour?
    fn learn_quarter(&mut self, minute: i64, week_min: i32) {
        let seen = self.sum(minute, 15);
        let (low, middle, high) = self.rhythm.band(week_min - 7);
        let (down, up) = self.levels(week_min, Some(self.recent(minute)));
        let (low, high) = (low * 15.0 * down, high * 15.0 * up);
        let miss = (low - seen).max(seen - high).max(0.0);
        let usual = middle * 15.0;
        if usual / self.unit() >= SPREAD_MEASURED_FROM {
            // by chance alone a value misses a band of no width by its whole variance, this one by somewhat less
            let limit = 25.0 * (usual * usual).max(usual * self.unit());
            let excess = (miss * miss - 0.7 * usual * self.unit()).clamp(-limit, limit);
            if self.spread.1 == 0.0 {
                self.spread = (SPREAD_START * SPREAD_START * usual * usual, usual * usual);
            }
            // sums, not ratios, are averaged: a ratio to a small usual value is mostly chance
            self.spread.0 += SPREAD_GAIN * (excess - self.spread.0);
            self.spread.1 += SPREAD_GAIN * (usual * usual - self.spread.1);
        }
        self.slow.0 = self.slow.0 * SLOW_DECAY + seen;
        self.slow.1 = self.slow.1 * SLOW_DECAY + usual;
    }
    fn learn_hour(&mut self, week_min: i32) -> Option<Finding> {
        let hour = std::mem::take(&mut self.hour);
        let slot = ((week_min - 30).rem_euclid(super::rhythm::WEEK_MIN) / 60) as usize;
        let finding = self.judge_hours(&hour, week_min);
        if hour.minutes < 30 {
            self.rhythm.skip();
            return finding;
        }
        let n = f64::from(hour.minutes);
        let mean = hour.sum / n;
        let variance = (hour.squares / n - mean * mean).max(0.0);
        // the first hours weigh more, so that the clump size is there when judging begins
        let gain = (1.0 / (f64::from(self.rhythm.hours()) + 1.0)).max(0.01);
        self.variance += gain * (variance - self.variance);
        self.mean += gain * (mean - self.mean);
        let noise = (mean.max(self.rhythm.rate(week_min - 30)) * self.unit() / n).sqrt();
        self.rhythm.learn(slot, mean, noise, self.unit());
        finding
    }
    /// Windows of hours, for what is too sparse to show within one.
    fn judge_hours(&mut self, hour: &Hour, week_min: i32) -> Option<Finding> {
        if self.rhythm.hours() < JUDGED_FROM_H {
            return None;
        }
        let usual = self.rhythm.rate(week_min - 30) * f64::from(hour.minutes);
        let least = self.rhythm.floor(week_min - 30) * f64::from(hour.minutes);
        self.past.push(Past { seen: hour.sum, usual, least });
        if self.past.len() > 24 {
            self.past.remove(0);
        }
        let mut best: Option<Finding> = None;
        for hours in LONG_WINDOWS {
            let Some(window) = self.past.len().checked_sub(hours).and_then(|from| self.past.get(from..)) else {
                continue;
            };
            let sum = |f: fn(&Past) -> f64| window.iter().fold(0.0, |s, p| s + f(p));
            let usual = sum(|p| p.usual);
            let expected = (sum(|p| p.least), usual, usual);
            let spread = self.spread(week_min - 30, hours as f64, SPREAD_LONG);
            if let Some(f) = self.test(60 * hours as i64, sum(|p| p.seen), expected, spread)
                && (hours > ONLY_LOW_H || f.side == Side::Low)
                && best.is_none_or(|b| f.decades > b.decades)
            {
                best = Some(f);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What is kept along is what the minutes say, whatever comes late or after a pause.
        #[test]
        fn sums_kept_along_are_those_of_the_minutes(
            steps in proptest::collection::vec((-140i64..80, any::<i32>()), 1..100),
        ) {
            let mut series = Series::new(Metric::Orders, 1000);
            for (ahead, value) in steps {
                series.add(series.head + ahead, value.into());
                let sum = |from: i64, to: i64| (from..=to).map(|m| series.value(m)).sum::<i64>();
                let head = series.head;
                prop_assert_eq!(series.last_hour, sum(head - 59, head));
                prop_assert_eq!(series.level, sum(head - 59, head - 15));
                prop_assert_eq!(series.recent(head), series.sum(head - LEVEL_LAG, LEVEL_MIN));
                prop_assert_eq!(series.sum(head - 3, 45), sum(head - 47, head - 3) as f64);
                prop_assert_eq!(series.sum(head - 100, 60), sum(head - 127, head - 100) as f64);
            }
        }
    }
}
