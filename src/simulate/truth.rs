//! What was planted: kinds, and the label line that says so.
//!
//! Deliberately absent: judgement of what a detector found; that is the reader's.

use super::agenda::Source;
use super::render::{push_number, push_time};

/// Kinds of planted trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Many stolen cards tried with small sums.
    CardTesting,
    /// A stranger in a customer's account, who orders.
    AccountTakeover,
    /// A till whose cards are skimmed and used again.
    CompromisedTerminal,
    /// A product sold at a wrong price.
    PriceError,
    /// A coupon for first orders used again and again.
    CouponAbuse,
    /// A customer who sends everything back.
    RefundAbuse,
    /// Payments of one country fail.
    PaymentOutage,
    /// A producer of events falls silent.
    SilentTracker,
    /// A scraper reads the catalogue.
    BotTraffic,
    /// Part of the checkouts break off.
    RevenueDrop,
    /// Not trouble: goods at a discount, more visitors.
    Sale,
    /// Not trouble: everybody looks at one product.
    Influencer,
    /// Not trouble: first customers from a country.
    NewCountry,
    /// Not trouble: a company orders in bulk.
    CorporateCustomer,
    /// Not trouble: an office behind one address.
    OfficeAddress,
    /// Not trouble: a family on one device.
    FamilyDevice,
    /// Not trouble: a batch of gift cards.
    GiftCards,
}

/// All kinds in the order of their numbers.
pub const KINDS: [Kind; 17] = [
    Kind::CardTesting,
    Kind::AccountTakeover,
    Kind::CompromisedTerminal,
    Kind::PriceError,
    Kind::CouponAbuse,
    Kind::RefundAbuse,
    Kind::PaymentOutage,
    Kind::SilentTracker,
    Kind::BotTraffic,
    Kind::RevenueDrop,
    Kind::Sale,
    Kind::Influencer,
    Kind::NewCountry,
    Kind::CorporateCustomer,
    Kind::OfficeAddress,
    Kind::FamilyDevice,
    Kind::GiftCards,
];

impl Kind {
    /// The `kind` of a label.
    pub fn name(self) -> &'static str {
        match self {
            Kind::CardTesting => "card_testing",
            Kind::AccountTakeover => "account_takeover",
            Kind::CompromisedTerminal => "compromised_terminal",
            Kind::PriceError => "price_error",
            Kind::CouponAbuse => "coupon_abuse",
            Kind::RefundAbuse => "refund_abuse",
            Kind::PaymentOutage => "payment_outage",
            Kind::SilentTracker => "silent_tracker",
            Kind::BotTraffic => "bot_traffic",
            Kind::RevenueDrop => "revenue_drop",
            Kind::Sale => "look_alike.sale",
            Kind::Influencer => "look_alike.influencer",
            Kind::NewCountry => "look_alike.new_country",
            Kind::CorporateCustomer => "look_alike.corporate_customer",
            Kind::OfficeAddress => "look_alike.office_address",
            Kind::FamilyDevice => "look_alike.family_device",
            Kind::GiftCards => "look_alike.gift_cards",
        }
    }

    /// Looks like trouble and is none: an alert about it is false.
    pub fn look_alike(self) -> bool {
        self >= Kind::Sale
    }

    /// Shows in a series, not in single events: its label is a window.
    pub fn metric_level(self) -> bool {
        matches!(
            self,
            Kind::PaymentOutage
                | Kind::SilentTracker
                | Kind::RevenueDrop
                | Kind::Sale
                | Kind::Influencer
                | Kind::NewCountry
        )
    }
}

/// Which planted episode an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// What was planted.
    pub kind: Kind,
    /// Its number, from 1 in the order of planting; all labels of one episode share it.
    pub episode: u32,
}

/// What a label is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// One event, by the key that the product removes duplicates with.
    Event {
        /// `id` of the event.
        id: String,
        /// `source` of the event.
        source: Source,
    },
    /// A series over a time.
    Window {
        /// First moment, ms since the epoch.
        from_ms: i64,
        /// Moment after the last one, ms since the epoch.
        to_ms: i64,
        /// Name of the series.
        metric: &'static str,
        /// Dimension and its value; `None` = the whole shop.
        dimension: Option<(&'static str, String)>,
    },
}

/// One line of the truth file.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// What was planted, and in which episode.
    pub tag: Tag,
    /// The event or window.
    pub target: Target,
    /// When the verdict becomes known, ms since the epoch.
    pub known_ms: i64,
}

impl Truth {
    /// Appends the label as one JSON object, without a line end.
    pub fn write(&self, out: &mut String) {
        out.push_str("{\"time\":\"");
        push_time(out, self.known_ms);
        match &self.target {
            Target::Event { id, source } => {
                out.push_str("\",\"event_id\":\"");
                out.push_str(id);
                out.push_str("\",\"source\":\"");
                out.push_str(source.name());
                out.push('"');
            }
            Target::Window { from_ms, to_ms, metric, dimension } => {
                out.push_str("\",\"window\":{\"from\":\"");
                push_time(out, *from_ms);
                out.push_str("\",\"to\":\"");
                push_time(out, *to_ms);
                out.push_str("\",\"metric\":\"");
                out.push_str(metric);
                out.push_str("\",\"dimensions\":{");
                if let Some((name, value)) = dimension {
                    for part in ["\"", name, "\":\"", value, "\""] {
                        out.push_str(part);
                    }
                }
                out.push_str("}}");
            }
        }
        let verdict = if self.tag.kind.look_alike() { "false_positive" } else { "true_positive" };
        out.push_str(",\"verdict\":\"");
        out.push_str(verdict);
        out.push_str("\",\"origin\":\"simulator\",\"by\":\"simulator\",\"kind\":\"");
        out.push_str(self.tag.kind.name());
        out.push_str("\",\"episode\":");
        push_number(out, u64::from(self.tag.episode));
        out.push('}');
    }
}
