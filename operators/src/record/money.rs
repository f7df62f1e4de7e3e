//! Amounts: decimal text to integer minor units, exactly, and what ISO 4217 says about minor units.
//!
//! More decimals than the currency has are rounded half to even, the rule of IEEE 754 and of accounting systems: it has
//! no drift over many amounts. The text is never turned into a float on the way.
//! Deliberately absent: rates (they are in the settings), formatting for people.

/// Amounts of this many digits before the point or more (ten trillion major units) are refused.
pub const MAX_MAJOR_DIGITS: i64 = 13;

/// Number of decimals of a currency's minor unit; 2 for every currency not in the lists of exceptions, also unknown ones.
pub fn exponent(currency: [u8; 3]) -> u8 {
    match &currency {
        b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG" | b"RWF" | b"UGX" | b"UYI"
        | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
        b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
        b"CLF" | b"UYW" => 4,
        _ => 2,
    }
}

/// Three letters of any case.
pub fn currency(text: &str) -> Option<[u8; 3]> {
    match text.as_bytes() {
        [a, b, c] if text.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            Some([a.to_ascii_uppercase(), b.to_ascii_uppercase(), c.to_ascii_uppercase()])
        }
        _ => None,
    }
}

/// A JSON number in pieces: sign, digits without leading zeros (point left out), and the power of ten of the last digit.
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

/// Splits a text of JSON's number grammar; `None` when it is not.
fn split(text: &str) -> Option<Decimal<'_>> {
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, power) = match rest.find(['e', 'E']) {
        Some(at) => (rest.get(..at)?, rest.get(at + 1..)?),
        None => (rest, "0"),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(pieces) => pieces,
        None => (mantissa, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    let (down, power) = match power.as_bytes().first()? {
        b'-' => (true, power.get(1..)?),
        b'+' => (false, power.get(1..)?),
        _ => (false, power),
    };
    if power.is_empty() || !digits(power) {
        return None;
    }
    // Beyond a million it is zero or refused either way: no event has so many digits to make up for it.
    let size = power.bytes().fold(0_i64, |n, byte| (n * 10 + i64::from(byte - b'0')).min(1_000_000));
    Some(Decimal { negative, whole, fraction, exponent: if down { -size } else { size } })
}

/// Minor units of a decimal number as JSON writes it, rounded half to even; `None` when it is no number or has more than
/// [`MAX_MAJOR_DIGITS`] digits before the point. Whether it is refused does not depend on `decimals`.
pub fn minor(text: &str, decimals: u8) -> Option<i64> {
    plain(text, decimals).or_else(|| general(text, decimals))
}

/// The common case at a fifth of the cost: short, no exponent, no more decimals than the currency has.
#[inline]
fn plain(text: &str, decimals: u8) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() > MAX_MAJOR_DIGITS as usize
        || matches!(bytes, [] | [b'.', ..] | [.., b'.'] | [b'0', b'0'..=b'9', ..])
    {
        return None;
    }
    let (mut units, mut left, mut point) = (0_i64, i32::from(decimals), false);
    for byte in bytes {
        match byte {
            b'0'..=b'9' => {
                units = units * 10 + i64::from(byte - b'0');
                left -= i32::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    for _ in 0..left {
        units *= 10;
    }
    (left >= 0).then_some(units)
}

fn general(text: &str, decimals: u8) -> Option<i64> {
    let number = split(text)?;
    let digits = || number.whole.bytes().chain(number.fraction.bytes()).skip_while(|byte| *byte == b'0');
    let count = digits().count() as i64;
    if count == 0 {
        return Some(0);
    }
    let major = count + number.exponent - number.fraction.len() as i64;
    if major > MAX_MAJOR_DIGITS {
        return None;
    }
    let keep = major + i64::from(decimals); // digits of the result, so at most 17
    let mut units: i64 = 0;
    let (mut half, mut above) = (0_u8, false);
    for (i, byte) in digits().enumerate() {
        let i = i as i64;
        if i < keep {
            units = units * 10 + i64::from(byte - b'0');
        } else if i == keep && keep >= 0 {
            half = byte - b'0';
        } else {
            above |= byte != b'0';
        }
    }
    for _ in count..keep {
        units *= 10;
    }
    let up = half > 5 || (half == 5 && (above || units % 2 == 1));
    units += i64::from(up);
    Some(if number.negative { -units } else { units })
}

/// Minor units as major units.
pub fn major(minor: i64, decimals: u8) -> f64 {
    const POWERS: [f64; 5] = [1.0, 10.0, 100.0, 1000.0, 10_000.0];
    minor as f64 / POWERS.get(usize::from(decimals)).copied().unwrap_or(100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_that_floats_get_wrong() {
        let table = [
            ("129.90", 2, 12990),
            ("0.29", 2, 29),
            ("1.005", 2, 100),
            ("1.015", 2, 102),
            ("1.0150000000000000000000000000001", 2, 102),
            ("1.0050000000000000000000000000001", 2, 101),
            ("-1.005", 2, -100),
            ("-1.006", 2, -101),
            ("0.005", 2, 0),
            ("0.015", 2, 2),
            ("0.0051", 2, 1),
            ("0.0009", 2, 0),
            ("1.299e2", 2, 12990),
            ("12990E-2", 2, 12990),
            ("1e-400", 2, 0),
            ("1e+3", 0, 1000),
            ("2.5", 0, 2),
            ("3.5", 0, 4),
            ("0.5", 0, 0),
            ("0.51", 0, 1),
            ("-0.0", 2, 0),
            ("0e999999999999999999999", 2, 0),
            ("9999999999999.994", 2, 999_999_999_999_999),
            ("9999999999999.9999", 2, 1_000_000_000_000_000),
            ("1.2345", 4, 12345),
            ("90071992547.40993", 4, 900_719_925_474_099),
        ];
        for (text, decimals, expected) in table {
            assert_eq!(minor(text, decimals), Some(expected), "{text}");
        }
        for text in
            ["10000000000000", "1e13", "1e99999999999", "-1e13", "", "-", "1.", ".5", "01", "1e", "+1", "1,5", "NaN"]
        {
            assert_eq!(minor(text, 2), None, "{text}");
        }
    }

    proptest! {
        /// Against integer arithmetic: the text of `units` at `places` decimals.
        #[test]
        fn equal_to_integer_arithmetic(units in 0_i128..10_000_000_000_000, places in 0_u32..12, decimals in 0_u8..5, negative: bool) {
            let scale = 10_i128.pow(places);
            let text = if places == 0 { format!("{units}") } else { format!("{}.{:0width$}", units / scale, units % scale, width = places as usize) };
            let (shifted, wanted) = (units * 10_i128.pow(u32::from(decimals)), scale);
            let (floor, rest) = (shifted / wanted, shifted % wanted);
            let up = rest * 2 > wanted || (rest * 2 == wanted && floor % 2 == 1);
            let expected = (floor + i128::from(up)) as i64;
            let text = if negative { format!("-{text}") } else { text };
            prop_assert_eq!(minor(&text, decimals), Some(if negative { -expected } else { expected }));
            let exponential = format!("{}{units}e-{places}", if negative { "-" } else { "" });
            prop_assert_eq!(minor(&exponential, decimals), minor(&text, decimals));
        }
        /// The short way and the long way agree on every text, right or wrong.
        #[test]
        fn both_ways_agree(text in "-?[0-9.]{0,14}(e1)?", decimals in 0_u8..5) {
            if let Some(units) = plain(&text, decimals) {
                prop_assert_eq!(Some(units), general(&text, decimals), "{}", text);
            }
        }
    }
}
