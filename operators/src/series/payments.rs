//! The share of payments that fail, of one segment: a binomial tail against the segment's usual share, over windows of
//! 30 seconds to 15 minutes, each ten seconds.
//!
//! The usual share is a Beta posterior that forgets with a half-life of three days and leans on the shop's share while the
//! segment is young. First tries count, a customer's next ones within ten minutes do not: neither those who run into an outage
//! and try on nor a thief with a hundred cards are many. What clumps are left divide the evidence by their measured size.

use super::SLICE_MS;
use super::key::Metric;
use super::series::{Finding, Side};
use super::tail;
use bitcode::{Decode, Encode};

/// Slices kept: the longest window and what may still be amended.
const RING: usize = 108;
/// Windows in slices.
const WINDOWS: [i64; 5] = [3, 6, 9, 30, 90];
/// Slices after which one is final: the allowed lateness.
const FINAL_AFTER: i64 = 13;
/// Half-life of three days, per slice.
const DECAY: f64 = 0.999_973_258;
/// Share assumed before anything is known, and the attempts that assumption is worth.
const PRIOR_SHARE: f64 = 0.1;
const PRIOR_WEIGHT: f64 = 50.0;
/// Fewer failures than this are never an outage.
const MIN_FAILED: f64 = 4.0;
/// An outage fails this many times as often as usual, and this much more in absolute terms.
const MIN_TIMES: f64 = 2.5;
const MIN_MORE: f64 = 0.1;
/// Clump size: at the start, bounds, gain per quarter hour.
const CLUMP_START: f64 = 1.15;
const CLUMP_RANGE: (f64, f64) = (1.0, 8.0);
const CLUMP_GAIN: f64 = 0.02;
/// Slices of history from which on the segment's own share is trusted: a day.
const YOUNG: i64 = 24 * 360;
/// Added to the threshold before, in decades.
const YOUNG_EXTRA: f64 = 4.0;
/// Slices without evidence after which failures are usual again; slices after which they are so anyway (48 h).
const QUIET: u32 = 90;
const FROZEN_MAX: i64 = 48 * 360;

#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
struct Slice {
    attempted: i32,
    authorized: i32,
    failed: i32,
}

/// State of one segment's payments.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Payments {
    ring: Vec<Slice>,
    /// Failures in the ring: without some there is nothing to judge.
    kept_failed: i64,
    first: i64,
    head: i64,
    failed: f64,
    tried: f64,
    clump: f64,
    frozen: Option<(i64, u32)>,
}

impl Payments {
    /// Payments that begin in the slice with this number.
    pub fn new(slice: i64) -> Payments {
        Payments {
            ring: vec![Slice::default(); RING],
            kept_failed: 0,
            first: slice,
            head: slice,
            failed: 0.0,
            tried: 0.0,
            clump: CLUMP_START,
            frozen: None,
        }
    }
    fn cell(&mut self, slice: i64) -> Option<&mut Slice> {
        self.ring.get_mut(slice.rem_euclid(RING as i64) as usize)
    }
    /// Opens the slices up to this one, empty.
    pub fn roll(&mut self, slice: i64) {
        for s in (self.head + 1).max(slice - RING as i64 + 1)..=slice {
            let left = self.cell(s).map_or(0, |cell| std::mem::take(cell).failed);
            self.kept_failed -= i64::from(left);
        }
        self.head = self.head.max(slice);
    }
    /// Adds a point; those too old for the ring are left out here (the bucket is final then anyway).
    pub fn add(&mut self, metric: Metric, bucket_ms: i64, value: i64) {
        let slice = bucket_ms.div_euclid(SLICE_MS);
        self.roll(slice);
        if slice <= self.head - RING as i64 {
            return;
        }
        let value = i32::try_from(value).unwrap_or(0);
        let Some(cell) = self.cell(slice) else { return };
        let before = cell.failed;
        match metric {
            Metric::PaymentsAttempted => cell.attempted = cell.attempted.saturating_add(value),
            Metric::PaymentsAuthorized => cell.authorized = cell.authorized.saturating_add(value),
            Metric::PaymentsFailed => cell.failed = cell.failed.saturating_add(value),
            Metric::AttemptedAgain => cell.attempted = cell.attempted.saturating_sub(value),
            Metric::AuthorizedAgain => cell.authorized = cell.authorized.saturating_sub(value),
            Metric::FailedAgain => cell.failed = cell.failed.saturating_sub(value),
            _ => {}
        }
        let more = cell.failed - before;
        self.kept_failed += i64::from(more);
    }
    /// Failures and attempts of the window that ends with this slice. A shop that sends no attempts has outcomes.
    fn window(&self, end: i64, slices: i64) -> (f64, f64) {
        let (mut attempted, mut authorized, mut failed) = (0i64, 0i64, 0i64);
        for s in (end - slices + 1).max(self.head - RING as i64 + 1)..=end {
            let cell = self.ring.get(s.rem_euclid(RING as i64) as usize).copied().unwrap_or_default();
            attempted += i64::from(cell.attempted);
            authorized += i64::from(cell.authorized);
            failed += i64::from(cell.failed);
        }
        (failed.max(0) as f64, attempted.max(authorized + failed).max(0) as f64)
    }
    /// Usual share of failures; `shop`: the whole shop's.
    pub fn share(&self, shop: Option<f64>) -> f64 {
        (self.failed + PRIOR_WEIGHT * shop.unwrap_or(PRIOR_SHARE)) / (self.tried + PRIOR_WEIGHT)
    }
    /// Attempts that the usual share rests on.
    pub fn tried(&self) -> f64 {
        self.tried
    }
    /// Is it unusual at the moment?
    pub fn frozen(&self) -> bool {
        self.frozen.is_some()
    }
    /// Starts the windows anew (time was skipped), keeps the usual share.
    pub fn resume(&mut self, slice: i64) {
        self.ring.iter_mut().for_each(|cell| *cell = Slice::default());
        self.kept_failed = 0;
        self.first += slice - self.head;
        self.head = slice;
        self.frozen = None;
    }
    /// Judges at the end of a slice: the strongest finding that passes the gates, weak ones too.
    pub fn judge(&mut self, slice: i64, shop: Option<f64>) -> Option<Finding> {
        self.roll(slice);
        if (self.kept_failed as f64) < MIN_FAILED {
            return None;
        }
        let usual = self.share(shop);
        let extra = if slice - self.first < YOUNG { YOUNG_EXTRA } else { 0.0 };
        let mut best: Option<Finding> = None;
        for slices in WINDOWS {
            let (k, n) = self.window(slice, slices);
            if k < MIN_FAILED || k < MIN_TIMES * usual * n || k < (usual + MIN_MORE) * n {
                continue;
            }
            let decades = tail::binomial(k, n, usual) / self.clump - extra;
            if best.is_none_or(|b| decades > b.decades) {
                let mean = n * usual;
                let deviation = 3.0 * (mean * (1.0 - usual) * self.clump).sqrt();
                let expected = ((mean - deviation).max(0.0), mean, mean + deviation);
                best = Some(Finding { side: Side::High, decades, window_ms: slices * SLICE_MS, seen: k, expected });
            }
        }
        best
    }
    /// Says whether this slice was unusual, and learns from the slice that is final with it.
    pub fn learn(&mut self, slice: i64, unusual: bool) {
        self.frozen = match (self.frozen, unusual) {
            (None, true) => Some((slice, 0)),
            (None, false) => None,
            (Some((since, _)), true) => Some((since, 0)),
            (Some((since, quiet)), false) => Some((since, quiet + 1)),
        }
        .filter(|(since, quiet)| *quiet < QUIET && slice - since < FROZEN_MAX);
        if self.frozen.is_some() {
            return;
        }
        let end = slice - FINAL_AFTER;
        let (k, n) = self.window(end, 1);
        self.failed = self.failed * DECAY + k;
        self.tried = self.tried * DECAY + n;
        if end.rem_euclid(90) == 0 {
            let (k, n) = self.window(end, 90);
            let p = self.share(None).clamp(1e-4, 0.9999);
            let variance = n * p * (1.0 - p);
            if n >= 3.0 && variance > 0.0 {
                let off = (k - n * p) * (k - n * p) / variance;
                self.clump += CLUMP_GAIN * (off.min(25.0) - self.clump);
                self.clump = self.clump.clamp(CLUMP_RANGE.0, CLUMP_RANGE.1);
            }
        }
    }
}
