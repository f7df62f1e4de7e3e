//! What changed: a digest of a time, made from the series of the shop against the same hours of weeks before.
//!
//! [`digest`] is a pure function of [`Track`]s, which [`crate::store::query::tracks`] reads. Of each metric it looks for the
//! run of hours that is furthest from what was usual, in units of its own noise (a scan over all runs: Kulldorff 1997), and
//! then for the segments that make up the change. [`words`] says it. Each number in a sentence is a rounded one of `evidence`.
//! Deliberately absent: causes. Segments that change together with the whole are where to look, not why it happened.

mod words;

use pulse_operators::record::DecodeConfig;
use serde::Serialize;
use std::collections::BTreeMap;

/// An hour, ms: the step of the digest.
pub const HOUR_MS: i64 = 3_600_000;
/// Weeks before that are compared with at most.
pub const WEEKS: usize = 4;
/// Standard deviations from the usual, below which nothing is said. A day has 300 runs of hours and there are five metrics: at
/// five a quiet day says something by chance less than once in a hundred days, were the noise normal.
const LEAST_Z: f64 = 5.0;
/// Change against the usual, below which nothing is said: true, perhaps, and of no use.
const LEAST_SHARE: f64 = 0.1;
/// Segments that are named.
const NAMED: usize = 3;

/// A series by hour, and the same hours of weeks before.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Name of the metric.
    pub metric: String,
    /// Canonical text of the segment (`country=DE`), empty for the whole shop.
    pub dimensions: String,
    /// Sums by hour.
    pub now: Vec<f64>,
    /// The same hours of earlier weeks, the nearest first; as long as `now`.
    pub before: Vec<Vec<f64>>,
}

/// A time that something is said of.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Start, ms, a whole hour.
    pub from_ms: i64,
    /// Hours.
    pub hours: usize,
}

/// A number that a sentence rests on, and where it can be looked up: the series of the sidecar.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// Name of the metric.
    pub metric: String,
    /// Segment, empty for the whole shop.
    pub dimensions: String,
    /// Sum over the run of hours.
    pub value: f64,
    /// Mean of the same hours of the weeks before.
    pub usual: f64,
    /// `value - usual`
    pub change: f64,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Insight {
    /// What, how much, since when.
    pub headline: String,
    /// In which segments; empty when there are none.
    pub place: String,
    /// Name of the metric.
    pub metric: String,
    /// `up` or `down`.
    pub direction: &'static str,
    /// The run of hours: start, ms.
    #[serde(skip)]
    pub from_ms: i64,
    /// Its end, ms.
    #[serde(skip)]
    pub to_ms: i64,
    /// It reaches to the end of the time asked for.
    pub lasts: bool,
    /// Standard deviations of the usual.
    pub z: f64,
    /// Weeks that it was compared with.
    pub weeks: usize,
    /// The whole first, then the segments that are named, then `dimension=*` for all the others of it: behind the first they
    /// add up to its change.
    pub evidence: Vec<Evidence>,
}

/// How the shop writes amounts and times.
#[derive(Clone, Debug)]
pub struct Style {
    /// Currency of the shop, ISO 4217.
    pub currency: String,
    /// Its time zone.
    pub zone: jiff::tz::TimeZone,
}

impl Style {
    /// As the configuration says; an unknown time zone, which the start has refused before, is UTC.
    pub fn of(shop: &DecodeConfig) -> Style {
        let zone = jiff::tz::TimeZone::get(&shop.time_zone).unwrap_or(jiff::tz::TimeZone::UTC);
        Style { currency: shop.shop_currency.clone(), zone }
    }
}

/// What changed, the clearest first. Series without an earlier week are left out.
pub fn digest(window: &Window, tracks: &[Track], style: &Style) -> Vec<Insight> {
    let whole = tracks.iter().filter(|t| t.dimensions.is_empty() && !t.before.is_empty());
    let mut found: Vec<Insight> = whole.filter_map(|track| insight(window, track, tracks, style)).collect();
    found.sort_by(|a, b| b.z.abs().total_cmp(&a.z.abs()).then_with(|| a.metric.cmp(&b.metric)));
    found
}

/// Mean of an hour over the weeks.
fn usual(track: &Track, hour: usize) -> f64 {
    let sum: f64 = track.before.iter().map(|week| week.get(hour).copied().unwrap_or(0.0)).sum();
    sum / track.before.len().max(1) as f64
}

/// Variance of an hour's difference from its usual value. Counts vary as Poisson's at least; amounts, whose unit is not one
/// piece, as if an hour's were one order, which is more than they do.
fn variance(track: &Track, hour: usize) -> f64 {
    let (mean, weeks) = (usual(track, hour), track.before.len() as f64);
    let least = if words::is_amount(&track.metric) { mean * mean } else { mean.max(1.0) };
    let square = |week: &Vec<f64>| (week.get(hour).copied().unwrap_or(0.0) - mean).powi(2);
    let seen = track.before.iter().map(square).sum::<f64>() / (weeks - 1.0).max(1.0);
    // the usual value is a mean of few weeks, and varies too
    seen.max(least) * (1.0 + 1.0 / weeks.max(1.0))
}

/// The run of hours furthest from the usual: `[start, end)` and its z.
fn run(track: &Track) -> Option<(usize, usize, f64)> {
    let hours: Vec<(f64, f64)> =
        track.now.iter().enumerate().map(|(h, now)| (now - usual(track, h), variance(track, h))).collect();
    let mut best: Option<(usize, usize, f64)> = None;
    for start in 0..hours.len() {
        let (mut off, mut var) = (0.0, 0.0);
        for (end, (d, v)) in hours.iter().enumerate().skip(start) {
            (off, var) = (off + d, var + v);
            let z = off / var.max(f64::MIN_POSITIVE).sqrt();
            if best.is_none_or(|(_, _, most)| z.abs() > most.abs()) {
                best = Some((start, end + 1, z));
            }
        }
    }
    best.filter(|(_, _, z)| z.is_finite())
}

/// A track over a run of hours.
fn evidence(track: &Track, (start, end): (usize, usize)) -> Evidence {
    let value: f64 = track.now.get(start..end).unwrap_or_default().iter().sum();
    let usual: f64 = (start..end).map(|hour| usual(track, hour)).sum();
    let (metric, dimensions) = (track.metric.clone(), track.dimensions.clone());
    Evidence { metric, dimensions, value, usual, change: value - usual }
}

fn insight(window: &Window, track: &Track, all: &[Track], style: &Style) -> Option<Insight> {
    let (start, end, z) = run(track)?;
    let whole = evidence(track, (start, end));
    if z.abs() < LEAST_Z || whole.change.abs() < LEAST_SHARE * whole.usual.abs() {
        return None;
    }
    let at = |hour: usize| window.from_ms + hour as i64 * HOUR_MS;
    let mut evidence = vec![whole];
    evidence.extend(places(track, all, (start, end), &evidence[0]));
    let mut insight = Insight {
        headline: String::new(),
        place: String::new(),
        metric: track.metric.clone(),
        direction: if z > 0.0 { "up" } else { "down" },
        from_ms: at(start),
        to_ms: at(end),
        lasts: end == window.hours,
        z: (z * 10.0).round() / 10.0,
        weeks: track.before.len(),
        evidence,
    };
    (insight.headline, insight.place) = (words::headline(&insight, style), words::place(&insight, style));
    Some(insight)
}

/// The segments of the dimension whose few largest make up most of the change, and the rest of it in one.
fn places(track: &Track, all: &[Track], run: (usize, usize), whole: &Evidence) -> Vec<Evidence> {
    let mut dimensions = BTreeMap::<&str, Vec<Evidence>>::new();
    for segment in all.iter().filter(|t| t.metric == track.metric) {
        if let Some((name, _)) = segment.dimensions.split_once('=').filter(|(_, value)| !value.contains('=')) {
            dimensions.entry(name).or_default().push(evidence(segment, run));
        }
    }
    let mut best: Option<(f64, Vec<Evidence>)> = None;
    for (name, mut segments) in dimensions.into_iter().filter(|(_, segments)| segments.len() > 1) {
        // in the direction of the whole, the largest first
        let along = |e: &Evidence| e.change * whole.change.signum();
        segments.sort_by(|a, b| along(b).total_cmp(&along(a)).then_with(|| a.dimensions.cmp(&b.dimensions)));
        segments.truncate(NAMED);
        segments.retain(|e| along(e) > 0.0);
        let Some(first) = segments.first() else { continue };
        // how much more of the change it has than of what is usual: a segment that is half of everything explains nothing by
        // having half of a change
        let share = |part: f64, of: f64| if of == 0.0 { 0.0 } else { part / of };
        let lift = share(first.change, whole.change) - share(first.usual, whole.usual);
        let rest = |of: fn(&Evidence) -> f64| of(whole) - segments.iter().map(of).sum::<f64>();
        let others = Evidence {
            metric: track.metric.clone(),
            dimensions: format!("{name}=*"),
            value: rest(|e| e.value),
            usual: rest(|e| e.usual),
            change: rest(|e| e.change),
        };
        if best.as_ref().is_none_or(|(most, _)| lift > *most) {
            segments.push(others);
            best = Some((lift, segments));
        }
    }
    best.map(|(_, segments)| segments).unwrap_or_default()
}

#[cfg(test)]
mod tests;
