//! Fixed words: categories, user agents, search words, decline codes, coupons.

/// Categories with the median price of their goods in minor units and the share of orders that come back, in per cent.
pub(super) const CATEGORIES: &[(&str, f64, f64)] = &[
    ("shoes", 7900.0, 24.0),
    ("dresses", 5900.0, 30.0),
    ("shirts", 2900.0, 18.0),
    ("jackets", 9900.0, 22.0),
    ("kitchen", 2400.0, 5.0),
    ("books", 1400.0, 2.0),
    ("toys", 2200.0, 5.0),
    ("garden", 3400.0, 6.0),
    ("lamps", 4400.0, 8.0),
    ("beauty", 1700.0, 3.0),
    ("sports", 4900.0, 10.0),
    ("headphones", 8900.0, 9.0),
    ("phones", 44900.0, 7.0),
    ("coffee", 1200.0, 1.0),
    ("pets", 1900.0, 2.0),
    ("bags", 6400.0, 14.0),
];

/// Browsers of people: places 0 to 8. The app's own client: 9 and 10. Crawlers that say so: 11 to 13. A scripted browser: 14.
pub(super) const AGENTS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:141.0) Gecko/20100101 Firefox/141.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
    "ShopApp/7.4 (iPhone; iOS 18.5)",
    "ShopApp/7.4 (Android 15)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/138.0.0.0 Safari/537.36",
];
/// Number of people's browsers at the start of [`AGENTS`].
pub(super) const BROWSERS: u64 = 9;
/// The app on its two systems.
pub(super) const APPS: [u8; 2] = [9, 10];
/// Crawlers that say who they are.
pub(super) const CRAWLERS: [u8; 3] = [11, 12, 13];
/// A scripted browser that does not hide.
pub(super) const HEADLESS: u8 = 14;

/// What people search for.
pub(super) const SEARCHES: &[&str] = &[
    "sale", "black", "gift", "size 42", "new", "wireless", "cotton", "birthday", "running", "led", "organic", "travel",
];

/// Why a card is declined, in ordinary life and in a test of stolen cards.
pub(super) const DECLINES: &[&str] = &[
    "insufficient_funds",
    "do_not_honor",
    "expired_card",
    "authentication_failed",
    "incorrect_cvc",
    "stolen_card",
    "invalid_number",
    "processor_unavailable",
];
/// The place of the decline code of an outage.
pub(super) const DECLINE_OUTAGE: u8 = 7;

/// Coupons that run all year. The last one is for first orders only: the one that gets abused.
pub(super) const COUPONS: &[(&str, i64)] = &[("NEWS5", 5), ("APP10", 10), ("FRIENDS15", 15), ("WELCOME20", 20)];
/// The place of the coupon for first orders.
pub(super) const COUPON_WELCOME: u8 = 3;
/// The place that stands for a made-up code which the shop denies.
pub(super) const COUPON_GUESSED: u8 = 255;
