//! What will happen: planned events in the order in which they arrive.
//!
//! Deliberately absent: JSON. A planned event is a few numbers; it becomes text when its turn comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::people::Method;
use super::truth::Tag;

/// Producers of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The shop's pages.
    Web,
    /// The shop's app.
    App,
    /// Tills in the shop's branches.
    Pos,
}

impl Source {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Source::Web => "web",
            Source::App => "app",
            Source::Pos => "pos",
        }
    }
}

/// Who acts, from where. 0 stands for "not known".
#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    pub source: Source,
    pub customer: u64,
    pub email: u64,
    pub session: u64,
    pub device: u64,
    pub ip: u32,
    pub agent: u8,
    /// Country of the shop front, and of the bill.
    pub country: u8,
    pub ship_to: u8,
    pub terminal: u32,
}

/// One line of an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub product: u32,
    pub category: u8,
    pub quantity: u32,
    pub price_minor: i64,
}

/// A basket that went to the till. `amount_minor` = lines + shipping + tax - discount.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub number: u64,
    pub lines: Vec<Line>,
    pub shipping_minor: i64,
    pub tax_minor: i64,
    pub discount_minor: i64,
    pub amount_minor: i64,
    /// Place in the list of coupons.
    pub coupon: Option<u8>,
    pub basket_age_s: f64,
    /// A line has a planted wrong price.
    pub wrong: Option<Tag>,
}

/// How a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PayStatus {
    Attempted,
    Authorized,
    /// With the place of its decline code.
    Failed(u8),
    Captured,
}

/// One try to pay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payment {
    pub number: u64,
    pub method: Method,
    /// 0 unless by card.
    pub card: u64,
    pub card_country: u8,
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Act {
    View(Line),
    Click(Line),
    Search { word: u8, results: u32 },
    CartAdd(Line),
    CartRemove(Line),
    Checkout(Arc<Order>),
    CouponApplied { code: u8, discount_minor: i64 },
    CouponDenied { code: u8, guess: u32 },
    Pay { order: Arc<Order>, payment: Payment, status: PayStatus },
    Completed { order: Arc<Order>, payment: Payment },
    Updated { order: Arc<Order> },
    Cancelled { order: Arc<Order> },
    ReturnRequested { order: Arc<Order>, amount_minor: i64 },
    Refunded { order: Arc<Order>, amount_minor: i64 },
    AccountCreated,
    Login,
    LoginFailed,
}

/// A planned event.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// When it happens, ms since the epoch.
    pub time_ms: i64,
    pub who: Who,
    pub act: Act,
    pub tag: Option<Tag>,
}

/// Planned events by time of arrival; equal times in the order of planning.
#[derive(Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(i64, u64, u32)>>,
    slots: Vec<Option<Planned>>,
    free: Vec<u32>,
    sequence: u64,
}

impl Agenda {
    /// Plans an event.
    pub fn push(&mut self, arrival_ms: i64, planned: Planned) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(planned);
        }
        self.heap.push(Reverse((arrival_ms, self.sequence, slot)));
        self.sequence += 1;
    }

    /// When the next one arrives.
    pub fn next_ms(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse((arrival_ms, _, _))| *arrival_ms)
    }

    /// The next one.
    pub fn peek(&self) -> Option<&Planned> {
        let Reverse((_, _, slot)) = self.heap.peek()?;
        self.slots.get(*slot as usize)?.as_ref()
    }

    /// The next one, with its time of arrival.
    pub fn pop(&mut self) -> Option<(i64, Planned)> {
        let Reverse((arrival_ms, _, slot)) = self.heap.pop()?;
        let planned = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some((arrival_ms, planned))
    }

    /// Number of planned events.
    pub fn len(&self) -> usize {
        self.heap.len()
    }
}
