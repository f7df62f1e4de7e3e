//! Countries: time zone, sales tax, blocks of IP addresses, issuers of cards.
//!
//! The blocks are whole /16 networks that the registries give to one country, so that the product's own look-up agrees (a
//! test holds that). Deliberately absent: cities, and networks of real companies by name.

use super::rng::mix;

/// What is fixed about a country.
pub(super) struct Country {
    /// ISO 3166 alpha-2.
    pub code: &'static str,
    /// IANA name of the time zone in which its customers live.
    pub zone: &'static str,
    /// Sales tax on top of the price, in basis points; 0 where prices hold the tax.
    pub tax_bp: i64,
    /// First two bytes of its networks.
    pub networks: &'static [[u8; 2]],
}

macro_rules! country {
    ($code:literal, $zone:literal, $tax:literal, $([$a:literal, $b:literal]),*) => {
        Country { code: $code, zone: $zone, tax_bp: $tax, networks: &[$([$a, $b]),*] }
    };
}

/// All countries. The order is part of every customer's number: append only.
pub(super) const COUNTRIES: &[Country] = &[
    country!(
        "DE",
        "Europe/Berlin",
        0,
        [79, 198],
        [79, 238],
        [80, 150],
        [84, 133],
        [84, 173],
        [87, 122],
        [91, 11],
        [93, 201],
        [93, 241]
    ),
    country!(
        "FR",
        "Europe/Paris",
        0,
        [81, 67],
        [82, 226],
        [82, 254],
        [86, 210],
        [86, 239],
        [88, 178],
        [90, 14],
        [92, 150]
    ),
    country!("AT", "Europe/Vienna", 0, [62, 47], [77, 117], [80, 108], [84, 113], [85, 125], [91, 112], [91, 114]),
    country!("NL", "Europe/Amsterdam", 0, [77, 166], [84, 85], [86, 80], [86, 95], [94, 213], [145, 12]),
    country!("IT", "Europe/Rome", 0, [79, 11], [79, 45], [82, 55], [82, 106], [87, 17], [88, 51], [93, 42], [151, 33]),
    country!("ES", "Europe/Madrid", 0, [79, 145], [80, 36], [81, 41], [83, 54], [88, 13], [88, 22], [95, 120]),
    country!("GB", "Europe/London", 0, [84, 222], [31, 87], [81, 152], [86, 133], [86, 178], [90, 201], [92, 14]),
    country!("CH", "Europe/Zurich", 0, [57, 10], [77, 57], [83, 79], [85, 0], [85, 6], [178, 82]),
    country!("US", "America/New_York", 800, [65, 188], [68, 152], [71, 92], [73, 204], [76, 101], [97, 98], [99, 172]),
    country!("PL", "Europe/Warsaw", 0, [31, 174], [37, 47], [78, 8], [79, 184], [83, 4], [83, 20], [95, 48]),
    country!("SE", "Europe/Stockholm", 0, [2, 255], [78, 74], [81, 224], [83, 253], [90, 229], [95, 209]),
    country!("DK", "Europe/Copenhagen", 0, [2, 107], [5, 33], [80, 163], [83, 90], [87, 52], [93, 162]),
    country!("BE", "Europe/Brussels", 0, [78, 23], [81, 241], [84, 196], [87, 64], [91, 179], [109, 130]),
    country!("PT", "Europe/Lisbon", 0, [2, 80], [81, 84], [85, 243], [89, 155], [94, 132], [188, 82]),
    country!("BR", "America/Sao_Paulo", 0, [177, 54], [177, 140], [179, 117], [187, 45], [189, 43], [201, 33]),
    country!("VN", "Asia/Ho_Chi_Minh", 0, [14, 161], [14, 228], [27, 64], [113, 162], [115, 72], [171, 225]),
    country!("IN", "Asia/Kolkata", 0, [49, 37], [59, 178], [106, 202], [117, 202], [122, 166], [182, 69]),
    country!("NG", "Africa/Lagos", 0, [41, 184], [102, 89], [105, 112], [105, 120], [197, 210]),
    country!("UA", "Europe/Kyiv", 0, [37, 52], [46, 96], [77, 52], [91, 124], [94, 153], [178, 150]),
];

/// Places in [`COUNTRIES`] from which attackers come when they do not use an address in the shop's own countries.
pub(super) const ABROAD: &[u8] = &[14, 15, 16, 17, 18, 8];

/// In place of a country: none is known.
pub(super) const UNKNOWN: u8 = 255;

/// The place of a country in [`COUNTRIES`].
pub(super) fn index(code: &str) -> Option<u8> {
    COUNTRIES.iter().position(|country| country.code == code).map(|place| place as u8)
}

/// The country at a place; the first one for a place that does not exist.
pub(super) fn country(place: u8) -> &'static Country {
    COUNTRIES.get(usize::from(place)).unwrap_or(&COUNTRIES[0])
}

/// An IPv4 address in this country from 64 random bits.
pub(super) fn address(place: u8, bits: u64) -> u32 {
    let networks = country(place).networks;
    let [a, b] = networks.get((bits >> 40) as usize % networks.len().max(1)).copied().unwrap_or([79, 198]);
    let c = (bits >> 16) as u8;
    // No network or broadcast addresses.
    let d = 1 + (bits % 254) as u8;
    u32::from_be_bytes([a, b, c, d])
}

/// The issuer's number of a card: each country has forty.
pub(super) fn bin(place: u8, card: u64) -> u32 {
    let issuer = mix(u64::from(place), card % 40);
    let first = if issuer & 1 == 0 { 4 } else { 5 };
    first * 100_000 + ((issuer >> 8) % 100_000) as u32
}
