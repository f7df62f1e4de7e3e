//! The metric level: one-minute series of the shop and its segments, and the incidents found in them.
//!
//! In the order in which data flow: [`mod@points`] turns an event into points and merges those of an epoch; [`SeriesBook`]
//! keeps the buckets, closes them by the watermark and asks the detectors: [`series`] (counts and sums against their
//! [`rhythm`]) and [`payments`] (share of failed payments), both in terms of [`tail`] bounds. [`incident`] merges what
//! they find into few incidents within a budget, [`members`] names
//! the events in them, [`json`] writes them down. [`sample`] scores a user's own metric.
//!
//! Deliberately absent: timely, I/O, clocks (time is the watermark), silence of a source, delivery. Money is kept as integer
//! minor units, so sums are the same in any order.

mod book;
pub mod incident;
pub mod json;
pub mod key;
pub mod members;
pub mod payments;
pub mod points;
pub mod rhythm;
pub mod sample;
#[allow(clippy::module_inception)] // one series, among the series
pub mod series;
pub mod tail;

#[cfg(test)]
mod tests;

pub use book::{
    ClosedMinute, ClosedPoint, ClosedSegment, Counters, SeriesBook, SeriesConfig, SeriesError, SeriesOutput,
};
pub use key::{Dimension, Metric, Point, Segment};
pub use members::{Member, Members, Naming};
pub use points::{Money, Preaggregate, points, tried_again};
pub use sample::{Compared, SampleState};

/// Length of a bucket.
pub const MINUTE_MS: i64 = 60_000;
/// Payments are also looked at in slices of this length: an outage must be known sooner than a minute's end allows.
pub const SLICE_MS: i64 = 10_000;
