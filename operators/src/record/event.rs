//! The decoded event: fixed-size numbers, 64-bit ids, and spans into the text of its batch.

use crate::enrich::device::Class;
use pulse_models::features::Group;

/// A piece of the batch's text. Empty = absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

/// Kinds of entity that keep running state. `Extra` are those configured in `[entities] extra`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
pub enum EntityKind {
    /// `customer_id`
    Customer = 0,
    /// `session_id`
    Session = 1,
    /// `device_id`
    Device = 2,
    /// `payment.card`
    Card = 3,
    /// `ip`
    Ip = 4,
    /// `email_hash`
    Email = 5,
    /// `items[].product_id`
    Product = 6,
    /// One of `[entities] extra`
    Extra = 7,
    /// The series of a `metric.sample`.
    Series = 8,
}

/// Kinds that an event names at most once: customer to e-mail.
pub const SINGLE_KINDS: usize = 6;
/// Further entities of one event (contract 1).
pub const MAX_EXTRA_ENTITIES: usize = 8;
/// Items of one event that are looked at one by one; more are counted in `items`, their quantities and prices are not compared.
pub const MAX_ITEMS: usize = 32;

/// Event types that the contract names; the others are `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the names are the contract's
pub enum EventType {
    ProductViewed,
    ProductClicked,
    SearchPerformed,
    CartAdded,
    CartRemoved,
    CheckoutStarted,
    CouponApplied,
    CouponDenied,
    PaymentAttempted,
    PaymentAuthorized,
    PaymentFailed,
    PaymentCaptured,
    OrderCompleted,
    OrderUpdated,
    OrderCancelled,
    ReturnRequested,
    OrderRefunded,
    AccountCreated,
    AccountLogin,
    AccountLoginFailed,
    MetricSample,
    Heartbeat,
    Unknown,
}

impl EventType {
    /// By the name in `type`.
    pub fn parse(name: &str) -> EventType {
        use EventType::*;
        match name {
            "product.viewed" => ProductViewed,
            "product.clicked" => ProductClicked,
            "search.performed" => SearchPerformed,
            "cart.added" => CartAdded,
            "cart.removed" => CartRemoved,
            "checkout.started" => CheckoutStarted,
            "coupon.applied" => CouponApplied,
            "coupon.denied" => CouponDenied,
            "payment.attempted" => PaymentAttempted,
            "payment.authorized" => PaymentAuthorized,
            "payment.failed" => PaymentFailed,
            "payment.captured" => PaymentCaptured,
            "order.completed" => OrderCompleted,
            "order.updated" => OrderUpdated,
            "order.cancelled" => OrderCancelled,
            "return.requested" => ReturnRequested,
            "order.refunded" => OrderRefunded,
            "account.created" => AccountCreated,
            "account.login" => AccountLogin,
            "account.login_failed" => AccountLoginFailed,
            "metric.sample" => MetricSample,
            "heartbeat" => Heartbeat,
            _ => Unknown,
        }
    }
    /// The group that scales and calibrates it.
    pub fn group(self) -> Group {
        use EventType::*;
        match self {
            ProductViewed | ProductClicked | SearchPerformed => Group::Browse,
            CartAdded | CartRemoved | CheckoutStarted | CouponApplied | CouponDenied => Group::Cart,
            PaymentAttempted | PaymentAuthorized | PaymentFailed | PaymentCaptured => Group::Payment,
            OrderCompleted | OrderUpdated | OrderCancelled => Group::Order,
            ReturnRequested | OrderRefunded => Group::Return,
            AccountCreated | AccountLogin | AccountLoginFailed => Group::Account,
            MetricSample | Heartbeat | Unknown => Group::Other,
        }
    }
}

/// ISO 3166 alpha-2, two upper-case letters; `NONE` = unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Country(pub [u8; 2]);
impl Country {
    /// Unknown.
    pub const NONE: Country = Country([0; 2]);
    /// Two letters of any case.
    pub fn parse(text: &str) -> Option<Country> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Some(Country([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => None,
        }
    }
    /// Known?
    pub fn known(self) -> bool {
        self != Country::NONE
    }
    /// The letters, empty when unknown.
    pub fn as_str(&self) -> &str {
        if self.known() { std::str::from_utf8(&self.0).unwrap_or_default() } else { "" }
    }
}

/// Outcome of a look-up (contract 3, `enrichment`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Lookup {
    /// Nothing to look up.
    #[default]
    Absent,
    /// Found.
    Ok,
    /// Looked up and not found.
    Unknown,
    /// The table is not there.
    Unavailable,
}

/// One line of an order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Item {
    /// `xxh3_64` of kind and product id; 0 = none.
    pub product: u64,
    /// Product id.
    pub product_id: Span,
    /// Category as given, else from the catalogue.
    pub category: Span,
    /// Pieces; `NAN` = not given.
    pub quantity: f64,
    /// Price in integer minor units of the event's currency; `i64::MIN` = not given.
    pub price_minor: i64,
    /// Price in the shop's currency, major units; `NAN` = not given or no rate.
    pub price: f64,
    /// Catalogue price in the shop's currency; `NAN` = unknown.
    pub catalogue_price: f64,
}

/// Not given, for amounts in minor units.
pub const NO_AMOUNT: i64 = i64::MIN;

/// A decoded, validated, enriched event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Input partition of `events.raw`.
    pub partition: u16,
    /// Offset in it: (partition, offset) is the cause of everything that follows.
    pub offset: u64,
    /// When the gateway received it (append time), ms since the epoch.
    pub received_ms: i64,
    /// Event time, ms since the epoch.
    pub time_ms: i64,
    /// Older than the partition's running maximum of event time less the allowed lateness, in offset order.
    pub late: bool,
    /// Its partition has less than a week of history: nothing counts as new yet.
    pub cold_start: bool,
    /// Type, known or not.
    pub event_type: EventType,
    /// Type as text.
    pub type_text: Span,
    /// `id`
    pub id: Span,
    /// `source`
    pub source: Span,
    /// 128-bit keyed hash of (source, id).
    pub identity: u128,
    /// Keys of the single entities by [`EntityKind`]: `xxh3_64` of kind and text; 0 = absent.
    pub keys: [u64; SINGLE_KINDS],
    /// Their texts.
    pub key_texts: [Span; SINGLE_KINDS],
    /// Keys of configured extra entities; 0 = absent.
    pub extra: [u64; MAX_EXTRA_ENTITIES],
    /// Their texts as `name:id`.
    pub extra_texts: [Span; MAX_EXTRA_ENTITIES],
    /// `country`, else the IP's.
    pub country: Country,
    /// The country of the IP.
    pub ip_country: Country,
    /// `billing_country`
    pub billing_country: Country,
    /// `shipping_country`
    pub shipping_country: Country,
    /// `currency`, else the shop's; ISO 4217.
    pub currency: [u8; 3],
    /// Exponent of the currency's minor unit.
    pub exponent: u8,
    /// `amount` in minor units, or [`NO_AMOUNT`].
    pub amount_minor: i64,
    /// `amount` in the shop's currency, major units; `NAN` = not given or no rate.
    pub amount: f64,
    /// Minor units, or [`NO_AMOUNT`].
    pub shipping_minor: i64,
    /// Minor units, or [`NO_AMOUNT`].
    pub tax_minor: i64,
    /// Minor units, or [`NO_AMOUNT`].
    pub discount_minor: i64,
    /// `order_id`
    pub order_id: Span,
    /// `payment.id`
    pub payment_id: Span,
    /// `payment.method`
    pub payment_method: Span,
    /// `payment.status`
    pub payment_status: Span,
    /// `coupon`
    pub coupon: Span,
    /// What kind of device the user agent names.
    pub device_class: Class,
    /// The user agent names a robot.
    pub bot: bool,
    /// Range of the batch's items.
    pub items: (u32, u32),
    /// Number of items in the event, also those behind [`MAX_ITEMS`].
    pub items_count: u32,
    /// Configured signals, `NAN` = absent.
    pub signals: [f32; pulse_models::features::MAX_SIGNALS],
    /// `metric.sample`: metric name.
    pub metric: Span,
    /// `metric.sample`: value, `NAN` = absent.
    pub value: f64,
    /// `metric.sample`: dimensions, canonical text `a=b,c=d` in the order of names.
    pub dimensions: Span,
    /// Country of the IP.
    pub geo: Lookup,
    /// Device of the user agent.
    pub device: Lookup,
    /// Products in the catalogue.
    pub catalogue: Lookup,
}

impl Event {
    /// Partition and offset in one number: the order in which a closed epoch is applied. Offsets stay below 2^48.
    pub fn order(&self) -> u64 {
        u64::from(self.partition) << 48 | self.offset
    }
}

/// Why an event is not taken up. Kept in `events.rejected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Stable code, snake case: `invalid_json`, `too_large`, `too_deep`, `missing_field`, `invalid_field`, `time_in_future`, ...
    pub code: &'static str,
    /// For a person; never holds more than 200 characters of the input.
    pub message: String,
}

/// The text and lines of a batch.
#[derive(Clone, Debug, Default)]
pub struct Arena {
    /// All texts of a batch, end to end.
    pub text: String,
    /// All items of a batch.
    pub items: Vec<Item>,
}
impl Arena {
    /// The text of a span.
    pub fn get(&self, span: Span) -> &str {
        self.text.get(span.start as usize..(span.start + span.len) as usize).unwrap_or_default()
    }
    /// Keeps a text.
    pub fn push(&mut self, text: &str) -> Span {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Span { start, len: text.len() as u32 }
    }
    /// The items of an event.
    pub fn items(&self, event: &Event) -> &[Item] {
        self.items.get(event.items.0 as usize..event.items.1 as usize).unwrap_or_default()
    }
}

/// What an entity knew before this event: exact counts over short windows, panes over long ones.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Answer {
    /// Events before this one in 10 min, 1 h, 1 d, 7 d, 30 d.
    pub counts: [u32; 5],
    /// Sum of amounts in the same windows, shop currency, major units.
    pub sums: [f32; 5],
    /// Failed payments and logins in 10 min and 1 h.
    pub failures: [u16; 2],
    /// Refunds and returns in 30 d.
    pub refunds_30d: u16,
    /// Orders with a coupon, and refused coupons, in 1 d.
    pub coupons_1d: u16,
    /// Seconds since the last event; negative = first event.
    pub gap_s: f32,
    /// Seconds since the first event ever seen.
    pub age_s: f32,
    /// Number of amounts behind mean and deviation.
    pub amounts: u32,
    /// Mean of asinh(amount); for `Series` the sample's value less the mean of its past.
    pub mean: f32,
    /// Deviation of asinh(amount); for `Series` that of its past, 0 while there is too little of it.
    pub deviation: f32,
    /// Largest amount so far (product: price).
    pub max_amount: f32,
    /// Different countries, devices, cards, customers seen with it within a day (without this event).
    pub distinct_1d: [u16; 4],
    /// Bit i: the i-th partner (country, device, card, customer) of this event was not seen with it before, while others were.
    pub new_pair: u8,
}

/// Places in `distinct_1d` and bits of `new_pair`.
pub mod pair {
    /// Country.
    pub const COUNTRY: usize = 0;
    /// Device.
    pub const DEVICE: usize = 1;
    /// Card.
    pub const CARD: usize = 2;
    /// Customer.
    pub const CUSTOMER: usize = 3;
}
impl Default for Answer {
    fn default() -> Self {
        Answer {
            counts: [0; 5],
            sums: [0.0; 5],
            failures: [0; 2],
            refunds_30d: 0,
            coupons_1d: 0,
            gap_s: -1.0,
            age_s: 0.0,
            amounts: 0,
            mean: 0.0,
            deviation: 0.0,
            max_amount: 0.0,
            distinct_1d: [0; 4],
            new_pair: 0,
        }
    }
}

/// All answers for one event. `None`: the event names no such entity.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// By [`EntityKind`], customer to e-mail.
    pub single: [Option<Answer>; SINGLE_KINDS],
    /// Configured extra entities.
    pub extra: [Option<Answer>; MAX_EXTRA_ENTITIES],
    /// Products, in the order of the event's items.
    pub products: Vec<Answer>,
    /// The series of a `metric.sample`.
    pub series: Option<Answer>,
}

/// Which way something is unusual (contract 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Above what is usual.
    High,
    /// Below.
    Low,
    /// Never seen before.
    New,
    /// Expected and not there.
    Missing,
}
impl Direction {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Direction::High => "high",
            Direction::Low => "low",
            Direction::New => "new",
            Direction::Missing => "missing",
        }
    }
}

/// One reason (contract 3), of a model and of a rule alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// Stable id.
    pub code: String,
    /// For a person.
    pub text: String,
    /// Which way.
    pub direction: Direction,
    /// What was seen.
    pub value: f64,
    /// What is usual.
    pub expected: [f64; 2],
    /// Share of the score in [0, 1].
    pub contribution: f64,
}

/// A rule that fired.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleHit {
    /// The rule's name, stable.
    pub rule: String,
    /// How unusual, as -log10 of a p-value: the rule's own estimate.
    pub surprise: f64,
    /// Why, in the form of the model's reasons.
    pub reason: Reason,
    /// Which entity it is about (alerts of one entity and cause are one); `None` = the event alone.
    pub entity: Option<EntityKind>,
}
