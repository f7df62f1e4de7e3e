//! The class of device that a user agent names, and whether it is a robot's.
//!
//! Taking a user agent apart costs microseconds, and a shop sees few different ones: each thread remembers answers. The
//! answer is a pure function of the text, so the memory changes nothing but the time.
//! Deliberately absent: versions, screen sizes, fingerprints.

use crate::record::Lookup;
use std::cell::RefCell;
use woothee::parser::Parser;
use xxhash_rust::xxh3::xxh3_128;

/// Answers remembered by a thread: 4,096 cover all but rare agents of a shop, in 128 KiB.
const CACHE_SLOTS: usize = 4096;
/// Bytes of a user agent that are looked at; real ones are below 300.
const MAX_AGENT_BYTES: usize = 512;

/// Class of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Class {
    /// The text names none that is known.
    #[default]
    Unknown,
    /// Desktop or laptop.
    Desktop,
    /// Phone or tablet.
    Mobile,
    /// Television, console, household appliance.
    Appliance,
    /// Crawler, script, headless browser.
    Robot,
}

impl Class {
    /// The name in the enriched event.
    pub fn name(self) -> &'static str {
        ["unknown", "desktop", "mobile", "appliance", "robot"][self as usize]
    }
    /// The outcome of the look-up.
    pub fn lookup(self) -> Lookup {
        if self == Class::Unknown { Lookup::Unknown } else { Lookup::Ok }
    }
}

/// Tools that fetch pages without a person, in lower case. HTTP libraries that shop apps are built with (okhttp,
/// CFNetwork, Dart) are no sign of a robot.
const TOOLS: [&str; 15] = [
    "curl/",
    "wget/",
    "python-requests",
    "python-urllib",
    "aiohttp/",
    "httpx/",
    "go-http-client",
    "scrapy",
    "libwww-perl",
    "headlesschrome",
    "phantomjs",
    "selenium",
    "puppeteer",
    "playwright",
    "electron-crawler",
];

/// Takes a user agent apart, without memory.
pub fn classify(agent: &str) -> Class {
    let end = (0..=MAX_AGENT_BYTES.min(agent.len())).rev().find(|at| agent.is_char_boundary(*at)).unwrap_or(0);
    let agent = agent.get(..end).unwrap_or_default();
    let lower = agent.to_ascii_lowercase();
    if TOOLS.iter().any(|tool| lower.contains(tool)) {
        return Class::Robot;
    }
    match Parser::new().parse(agent).map(|found| found.category) {
        Some("crawler") => Class::Robot,
        Some("pc") => Class::Desktop,
        Some("smartphone" | "mobilephone") => Class::Mobile,
        Some("appliance") => Class::Appliance,
        _ => Class::Unknown,
    }
}

/// Direct-mapped memory of answers: a newer agent takes the place of an older one in its slot.
struct DeviceCache {
    slots: Vec<(u128, Class)>,
}

impl DeviceCache {
    fn new() -> DeviceCache {
        DeviceCache { slots: vec![(0, Class::Unknown); CACHE_SLOTS] }
    }
    fn get(&mut self, agent: &str) -> Class {
        let key = xxh3_128(agent.as_bytes()) | 1; // never the key of an empty slot
        let Some(slot) = self.slots.get_mut((key >> 1) as usize % CACHE_SLOTS) else { return classify(agent) };
        if slot.0 != key {
            *slot = (key, classify(agent));
        }
        slot.1
    }
}

thread_local! {
    static CACHE: RefCell<DeviceCache> = RefCell::new(DeviceCache::new());
}

/// The class of a user agent.
pub fn class(agent: &str) -> Class {
    CACHE.with(|cache| cache.borrow_mut().get(agent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let table = [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
                Class::Desktop,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
                Class::Mobile,
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36",
                Class::Mobile,
            ),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", Class::Robot),
            ("curl/8.5.0", Class::Robot),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/129.0.0.0 Safari/537.36",
                Class::Robot,
            ),
            ("okhttp/4.12.0", Class::Unknown),
            ("", Class::Unknown),
        ];
        for (agent, expected) in table {
            assert_eq!(class(agent), expected, "{agent}");
            assert_eq!(class(agent), expected, "{agent} again");
        }
    }

    #[test]
    fn memory_never_changes_the_answer() {
        let mut cache = DeviceCache::new();
        for i in 0..2 * CACHE_SLOTS {
            let agent = format!("{}/{i}", if i % 3 == 0 { "curl" } else { "shop-app" });
            let expected = if i % 3 == 0 { Class::Robot } else { Class::Unknown };
            assert_eq!(cache.get(&agent), expected, "{agent}");
        }
        assert_eq!(cache.slots.len(), CACHE_SLOTS);
        assert_eq!(classify(&"ü".repeat(10_000)), Class::Unknown);
    }
}
