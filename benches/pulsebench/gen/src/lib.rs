//! Events, look-up tables and digest of job J1, exactly as `../JOB.md` defines them.
//!
//! Deliberately absent: files. The programs beside this, and tests, read and write them.

use serde::Deserialize;
use std::fmt::Write;

/// Products in the catalogue; one in a hundred events names another.
pub const PRODUCTS: u64 = 10_000;
/// Devices with a known risk.
pub const DEVICES: u64 = 50_000;
/// Accounts.
pub const ACCOUNTS: u64 = 100_000;
/// Ranges of addresses.
const RANGES: u64 = 4096;
/// Time of the first event, milliseconds since the epoch.
const BASE_TS: u64 = 1_760_000_000_000;
const UAS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0",
];
const TYPES: [&str; 4] = ["order_placed", "payment_attempt", "checkout_started", "refund_requested"];
const METHODS: [&str; 4] = ["card", "paypal", "klarna", "giftcard"];

/// splitmix64
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in 0..n from the upper 32 bits.
    fn below(&mut self, n: u64) -> u64 {
        ((self.next() >> 32) * n) >> 32
    }

    fn one_of<'a>(&mut self, names: &[&'a str]) -> &'a str {
        names.get(self.below(names.len() as u64) as usize).copied().unwrap_or_default()
    }
}

/// FNV-1a, 64 bits
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &c| (h ^ u64::from(c)).wrapping_mul(0x100_0000_01b3))
}

/// The partition of an account, of `partitions`.
pub fn partition(account: u64, partitions: u64) -> u64 {
    fnv1a(&account.to_le_bytes()) % partitions.max(1)
}

/// The three look-up tables as JSON.
#[derive(Clone, Debug)]
pub struct Tables {
    /// `{product_id: [category, price_cents]}`
    pub catalogue: String,
    /// `{device_id: risk}`
    pub devices: String,
    /// `[[start, country], ..]`
    pub geo: String,
}

/// The events, one after the other, always the same.
pub struct Events {
    rng: Rng,
    prices: Vec<u64>,
    number: u64,
    /// Events left of the attack that is under way, and the account it is on.
    burst: (u64, u64),
    line: String,
}

/// Appends to a text; that cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { let _ = write!($out, $($arg)*); };
}

/// The tables, and the events that follow them in the same random stream.
pub fn generate() -> (Tables, Events) {
    let mut rng = Rng(42);
    let (mut catalogue, mut devices, mut geo) = (String::from("{"), String::from("{"), String::from("["));
    let mut prices = Vec::with_capacity(PRODUCTS as usize);
    for i in 0..PRODUCTS {
        let price = 200 + rng.below(300) * (1 + rng.below(60));
        prices.push(price);
        let comma = if i > 0 { "," } else { "" };
        put!(catalogue, "{comma}\"p-{i:06}\":[{},{price}]", 1 + rng.below(40));
    }
    for i in 0..DEVICES {
        let comma = if i > 0 { "," } else { "" };
        put!(devices, "{comma}\"d-{i:08}\":{}", rng.below(30));
    }
    for i in 0..RANGES {
        let comma = if i > 0 { "," } else { "" };
        put!(geo, "{comma}[{},{}]", i << 20, rng.below(60));
    }
    let tables = Tables { catalogue: catalogue + "}\n", devices: devices + "}\n", geo: geo + "]\n" };
    (tables, Events { rng, prices, number: 0, burst: (0, 0), line: String::new() })
}

impl Events {
    /// The next event: its account and its line, which ends with a newline.
    pub fn next_line(&mut self) -> (u64, &str) {
        let r = &mut self.rng;
        if self.burst.0 == 0 && r.below(20_000) == 0 {
            self.burst = (20 + r.below(60), r.below(ACCOUNTS));
        }
        let attack = self.burst.0 > 0;
        let account = if attack {
            self.burst.0 -= 1;
            self.burst.1
        } else if r.below(100) < 10 {
            r.below(1_000)
        } else {
            r.below(ACCOUNTS)
        };
        let mut traits = Rng(account.wrapping_mul(0x9E37)); // what stays the same for an account
        let home = (traits.next() as u32) & 0xffff_f000;
        let own_device = traits.below(DEVICES);
        let odd = attack || r.below(200) == 0;
        let ip = if odd { r.next() as u32 } else { home | (r.next() as u32 & 0xfff) };
        let device = if r.below(100) < 5 {
            90_000_000 + r.below(1_000_000)
        } else if odd {
            r.below(DEVICES)
        } else {
            own_device
        };
        let product = r.below(PRODUCTS + PRODUCTS / 100); // 1 % are not in the catalogue
        let quantity = if attack { 1 + r.below(9) } else { 1 + u64::from(r.below(4) == 0) };
        let price = self.prices.get(product as usize).copied().unwrap_or(1999);
        let mut amount = price * quantity * (90 + r.below(21)) / 100;
        if attack {
            amount *= 1 + r.below(10);
        }
        let amount = amount.clamp(1, 500_000);
        let (kind, session, method) = (r.one_of(&TYPES), r.next(), r.one_of(&METHODS));
        let (bin, last4, ua) = (r.below(1_000_000), r.below(10_000), r.one_of(&UAS));
        let (i, [a, b, c, d]) = (self.number, ip.to_be_bytes());
        self.number += 1;
        self.line.clear();
        put!(
            self.line,
            "{{\"event_id\":\"e-{i:012}\",\"schema\":3,\"type\":\"{kind}\",\"ts\":{ts},\"account_id\":\"a-{account:07}\",\
             \"session_id\":\"s-{session:016x}\",\"product_id\":\"p-{product:06}\",\"quantity\":{quantity},\"currency\":\"EUR\",\
             \"payment\":{{\"method\":\"{method}\",\"amount_cents\":{amount},\"bin\":\"{bin:06}\",\"last4\":\"{last4:04}\"}},\
             \"client\":{{\"ip\":\"{a}.{b}.{c}.{d}\",\"device_id\":\"d-{device:08}\",\"ua\":\"{ua}\",\"lang\":\"de-AT\"}}}}\n",
            ts = BASE_TS + i
        );
        (account, &self.line)
    }
}

/// An output row: the fields that the digest covers.
#[derive(Deserialize)]
struct Row<'a> {
    event_id: &'a str,
    path: i64,
    risk: i64,
    c60: i64,
    s600: i64,
}

/// The digest of an output, whatever the order of its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Rows that were read.
    pub rows: u64,
    /// Wrapping sum of their hashes.
    pub sum: u64,
    /// Lines that are no such row.
    pub bad: u64,
}

impl Digest {
    /// Takes in a file's bytes, one row a line.
    pub fn add(&mut self, file: &[u8]) {
        for line in file.split(|&c| c == b'\n').filter(|line| !line.is_empty()) {
            let Ok(r) = serde_json::from_slice::<Row>(line) else {
                self.bad += 1;
                continue;
            };
            let text = format!("{}|{}|{}|{}|{}", r.event_id, r.path, r.risk, r.c60, r.s600);
            self.rows += 1;
            self.sum = self.sum.wrapping_add(fnv1a(text.as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_those_that_are_kept() {
        let tables = generate().0;
        assert_eq!(tables.catalogue, include_str!("../../data/catalogue.json"));
        assert_eq!(tables.devices, include_str!("../../data/devices.json"));
        assert_eq!(tables.geo, include_str!("../../data/geo.json"));
    }

    #[test]
    fn the_digest_ignores_order_and_counts_what_is_no_row() {
        let row = |n: u32| format!("{{\"event_id\":\"e-{n}\",\"path\":1,\"risk\":2,\"c60\":3,\"s600\":4}}\n");
        let digest = |text: String| {
            let mut digest = Digest::default();
            digest.add(text.as_bytes());
            digest
        };
        assert_eq!(digest(row(1) + &row(2)), digest(row(2) + &row(1)));
        assert_ne!(digest(row(1)), digest(row(2)));
        assert_eq!(digest(row(1) + "{}\n").bad, 1);
    }
}
