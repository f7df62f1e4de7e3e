//! What names a series: metric and segment.

use super::{MINUTE_MS, SLICE_MS};
use bitcode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// What is counted or summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Metric {
    /// Completed orders.
    Orders = 0,
    /// Their amount, minor units of the shop's currency.
    Revenue = 1,
    /// Payments attempted.
    PaymentsAttempted = 2,
    /// Payments authorized.
    PaymentsAuthorized = 3,
    /// Payments failed.
    PaymentsFailed = 4,
    /// Refunds.
    Refunds = 5,
    /// Their amount, minor units of the shop's currency.
    RefundAmount = 6,
    /// Products viewed.
    Views = 7,
    /// Of the payments attempted, those after a failure of the same card, device or customer. Has no series of its own.
    AttemptedAgain = 8,
    /// The same of those authorized.
    AuthorizedAgain = 9,
    /// The same of those failed.
    FailedAgain = 10,
}

/// All metrics with a series, in the order of their numbers.
pub const METRICS: [Metric; 8] = [
    Metric::Orders,
    Metric::Revenue,
    Metric::PaymentsAttempted,
    Metric::PaymentsAuthorized,
    Metric::PaymentsFailed,
    Metric::Refunds,
    Metric::RefundAmount,
    Metric::Views,
];

impl Metric {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Orders => "orders",
            Metric::Revenue => "revenue",
            Metric::PaymentsAttempted => "payments_attempted",
            Metric::PaymentsAuthorized => "payments_authorized",
            Metric::PaymentsFailed => "payments_failed",
            Metric::Refunds => "refunds",
            Metric::RefundAmount => "refund_amount",
            Metric::Views => "views",
            Metric::AttemptedAgain => "payments_attempted_again",
            Metric::AuthorizedAgain => "payments_authorized_again",
            Metric::FailedAgain => "payments_failed_again",
        }
    }
    /// Is it a sum of money?
    pub fn is_money(self) -> bool {
        matches!(self, Metric::Revenue | Metric::RefundAmount)
    }
    /// Length of the buckets its points come in: payments in slices, all else in minutes.
    pub fn bucket_ms(self) -> i64 {
        match self {
            Metric::PaymentsAttempted
            | Metric::PaymentsAuthorized
            | Metric::PaymentsFailed
            | Metric::AttemptedAgain
            | Metric::AuthorizedAgain
            | Metric::FailedAgain => SLICE_MS,
            _ => MINUTE_MS,
        }
    }
    /// The part of a payment metric that is tried again.
    pub fn again(self) -> Option<Metric> {
        match self {
            Metric::PaymentsAttempted => Some(Metric::AttemptedAgain),
            Metric::PaymentsAuthorized => Some(Metric::AuthorizedAgain),
            Metric::PaymentsFailed => Some(Metric::FailedAgain),
            _ => None,
        }
    }
}

/// By what a metric is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Dimension {
    /// Not split.
    Total = 0,
    /// Country of the event.
    Country = 1,
    /// Category of an item.
    Category = 2,
    /// Payment method.
    Method = 3,
    /// Producer of the event.
    Source = 4,
}
impl Dimension {
    /// The name in `dimensions` of JSON.
    pub fn name(self) -> &'static str {
        match self {
            Dimension::Total => "total",
            Dimension::Country => "country",
            Dimension::Category => "category",
            Dimension::Method => "payment_method",
            Dimension::Source => "source",
        }
    }
}

/// A part of the shop: a dimension and its value, empty for the total.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Segment {
    /// Dimension.
    pub dimension: Dimension,
    /// Value, at most [`MAX_LABEL`] bytes.
    pub label: String,
}
/// Longest label in bytes; longer ones are cut: a category may be a whole path.
pub const MAX_LABEL: usize = 64;

impl Segment {
    /// A segment; the label is cut to [`MAX_LABEL`] bytes at a character's end.
    pub fn new(dimension: Dimension, label: &str) -> Segment {
        let mut end = label.len().min(MAX_LABEL);
        while !label.is_char_boundary(end) {
            end -= 1;
        }
        Segment { dimension, label: label.get(..end).unwrap_or_default().to_string() }
    }
    /// The whole shop.
    pub fn total() -> Segment {
        Segment { dimension: Dimension::Total, label: String::new() }
    }
    /// Is it the whole shop?
    pub fn is_total(&self) -> bool {
        self.dimension == Dimension::Total
    }
}

/// One contribution to a bucket of a series.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Point {
    /// Metric.
    pub metric: Metric,
    /// Segment.
    pub segment: Segment,
    /// Start of the bucket, ms since the epoch; its length is [`Metric::bucket_ms`].
    pub bucket_ms: i64,
    /// Count, or minor units of the shop's currency.
    pub value: i64,
}
