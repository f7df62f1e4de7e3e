//! The feature schema: which number stands in which column, and what a person calls it.
//!
//! A row is `[f32; FEATURES]`; `NAN` means "not available" (no such entity, no such field) and is scored as ordinary.
//! Deliberately absent: how the numbers come about (that is the operators' business).

/// Version of this table; stored with every score. Raised whenever a column changes its meaning.
pub const FEATURE_SCHEMA: u32 = 3;

/// Groups of event types; each has scaling, ensemble, calibration and alert budget of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Group {
    /// Views, clicks, searches.
    Browse = 0,
    /// Carts, checkouts, coupons.
    Cart = 1,
    /// Payments.
    Payment = 2,
    /// Orders.
    Order = 3,
    /// Returns and refunds.
    Return = 4,
    /// Accounts and logins.
    Account = 5,
    /// Everything else, unknown types too.
    Other = 6,
}

/// All groups in the order of their numbers.
pub const GROUPS: [Group; 7] =
    [Group::Browse, Group::Cart, Group::Payment, Group::Order, Group::Return, Group::Account, Group::Other];

impl Group {
    /// The name in JSON, metrics and configuration.
    pub fn name(self) -> &'static str {
        ["browse", "cart", "payment", "order", "return", "account", "other"][self as usize]
    }
    /// Share of the alert budget where all groups see events; where some do not, theirs goes to the others in proportion.
    /// Money is at stake in payments and orders; who looks at products does little harm.
    pub fn budget_share(self) -> f64 {
        [0.05, 0.10, 0.35, 0.25, 0.10, 0.12, 0.03][self as usize]
    }
}

macro_rules! columns {
    ($($constant:ident = $name:literal, $text:literal;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)] // used as numbers only
        enum Position { $($constant),* }
        $(#[doc = $text] pub const $constant: usize = Position::$constant as usize;)*
        /// Name (reason code) and text of each column.
        pub const COLUMNS: &[(&str, &str)] = &[$(($name, $text)),*];
    };
}

columns! {
    AMOUNT = "amount", "Amount in the shop's currency";
    ITEMS = "items", "Number of different items";
    QUANTITY = "quantity", "Pieces in all";
    MAX_PRICE = "max_price", "Dearest item's price";
    DISCOUNT_SHARE = "discount_share", "Discount as a share of the goods";
    SHIPPING_SHARE = "shipping_share", "Shipping as a share of the amount";
    HOUR = "hour", "Hour of the day in the shop's time zone";
    COUNTRY_MISMATCH = "country_mismatch", "How many of the countries (IP, billing, shipping) differ";
    BOT = "bot", "The user agent is a robot's";
    CATALOGUE_RATIO = "catalogue_ratio", "Largest |ln(price / catalogue price)| of the items";
    CUSTOMER_10M = "customer_10m", "Events of this customer in 10 minutes outside this session";
    CUSTOMER_1D = "customer_1d", "Events of this customer in a day";
    CUSTOMER_30D = "customer_30d", "Events of this customer in 30 days";
    CUSTOMER_GAP = "customer_gap", "Time since this customer's last visit";
    AMOUNT_VS_CUSTOMER = "amount_vs_customer", "Amount against this customer's own";
    CUSTOMER_NEW_PAIRS = "customer_new_pairs", "Country, device or card not seen with this customer before";
    SESSION_10M = "session_10m", "Events of this session in 10 minutes";
    SESSION_GAP = "session_gap", "Time since this session's last event";
    DEVICE_10M = "device_10m", "Events of this device in 10 minutes that are not this customer's";
    DEVICE_1D = "device_1d", "Events of this device in a day that are not this customer's";
    DEVICE_CARDS = "device_cards", "Different cards on this device in a day";
    DEVICE_CUSTOMERS = "device_customers", "Different customers on this device in a day";
    CARD_10M = "card_10m", "Events of this card in 10 minutes";
    CARD_1D = "card_1d", "Events of this card in a day";
    AMOUNT_VS_CARD = "amount_vs_card", "Amount against this card's own, where more is known of the card than of the customer";
    IP_10M = "ip_10m", "Events of this IP address in 10 minutes from other devices";
    IP_1D = "ip_1d", "Events of this IP address in a day from other devices";
    IP_CARDS = "ip_cards", "Different cards from this IP address in a day";
    EMAIL_1D = "email_1d", "Events of this e-mail address in a day outside this session, without an account";
    FAILURES_1H = "failures_1h", "Failed payments or logins within an hour of this customer, device, card or IP address";
    PRICE_VS_PRODUCT = "price_vs_product", "Item price against the product's own";
    PRODUCT_1H = "product_1h", "Events of the busiest product in an hour";
    REFUNDS_30D = "refunds_30d", "Refunds and returns of this customer in 30 days";
    COUPONS_1D = "coupons_1d", "Orders with a coupon, and refused coupons, in a day of this customer, device or IP address";
    EXTRA_VALUE = "amount_vs_extra", "Amount against the configured extra entity's own";
    EXTRA_10M = "extra_10m", "Events of the busiest configured extra entity in 10 minutes";
}

/// Columns of a row before the user's own signals.
pub const BASE_FEATURES: usize = COLUMNS.len();
/// Signals named in `[signals] extra`, at most so many, follow the base columns in the order of the configuration.
pub const MAX_SIGNALS: usize = 4;
/// Columns of a row.
pub const FEATURES: usize = BASE_FEATURES + MAX_SIGNALS;

/// One event's features, in the order of [`COLUMNS`], then the user's signals; `NAN` = not available.
pub type Row = [f32; FEATURES];
