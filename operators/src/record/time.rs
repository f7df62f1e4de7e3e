//! Event time: RFC 3339 with offset, or integer milliseconds, to milliseconds since the epoch.
//!
//! Taken apart by hand because it is on the hot path (jiff takes six times as long); a property test holds it to jiff.
//! Deliberately absent: time zones by name, the wall clock.

use super::json::Token;

/// 0001-01-01T00:00:00Z.
const MIN_MS: i64 = -62_135_596_800_000;
/// 9999-12-31T23:59:59.999Z.
const MAX_MS: i64 = 253_402_300_799_999;

/// Milliseconds since the epoch of the field `time`; `None` when it is neither RFC 3339 with an offset nor an integer.
/// Digits behind the millisecond are cut off; a leap second is the second before it.
pub fn parse(token: &Token<'_>) -> Option<i64> {
    let ms = match token {
        Token::Number(text) => text.parse::<i64>().ok()?,
        Token::Text(text) => rfc3339(&text.value())?,
        _ => return None,
    };
    (MIN_MS..=MAX_MS).contains(&ms).then_some(ms)
}

/// Days since the epoch in the proleptic Gregorian calendar (H. Hinnant's algorithm, years from March).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The number of two digits at `at`.
#[inline]
fn two(bytes: &[u8], at: usize) -> Option<i64> {
    let (a, b) = (bytes.get(at)?.wrapping_sub(b'0'), bytes.get(at + 1)?.wrapping_sub(b'0'));
    (a < 10 && b < 10).then(|| i64::from(a) * 10 + i64::from(b))
}

/// Seconds east of UTC; the text must end with it.
fn offset(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (two(bytes, 1)?, two(bytes, 4)?);
            let seconds = (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)?;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

/// `YYYY-MM-DDTHH:MM:SS[.fraction]` and `Z` or `+HH:MM`; `t`, `z` and a space for `T` are allowed as RFC 3339 does.
pub fn rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| bytes.get(*at) != Some(mark)) || !matches!(bytes.get(10), Some(b'T' | b't' | b' '))
    {
        return None;
    }
    let year = two(bytes, 0)? * 100 + two(bytes, 2)?;
    let (month, day) = (two(bytes, 5)?, two(bytes, 8)?);
    let (hour, minute, second) = (two(bytes, 11)?, two(bytes, 14)?, two(bytes, 17)?);
    let date = (1..=12).contains(&month) && day >= 1 && day <= month_length(year, month);
    if !date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = bytes.get(19..)?;
    let mut ms = 0;
    if let [b'.', behind @ ..] = rest {
        let count = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return None;
        }
        let digit = |at: usize| if at < count { i64::from(behind.get(at).copied().unwrap_or(b'0') - b'0') } else { 0 };
        ms = digit(0) * 100 + digit(1) * 10 + digit(2);
        rest = behind.get(count..)?;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second.min(59) - offset(rest)?;
    Some(seconds * 1000 + ms)
}

/// Writes the last digits of a number that fits.
fn digits<const N: usize>(out: &mut [u8; N], mut number: i64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + number.rem_euclid(10) as u8;
        number = number.div_euclid(10);
    }
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`; `None` outside the years 1 to 9999. The way back of [`rfc3339`].
pub fn civil(time_ms: i64) -> Option<[u8; 24]> {
    if !(MIN_MS..=MAX_MS).contains(&time_ms) {
        return None;
    }
    const DAY_MS: i64 = 86_400_000;
    let (since, of_day) = (time_ms.div_euclid(DAY_MS) + 719_468, time_ms.rem_euclid(DAY_MS));
    // days in the era of 400 years, which begins on the first of March
    let (era, day) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let mut out = *b"0000-00-00T00:00:00.000Z";
    let [y0, y1, y2, y3, _, m0, m1, _, d0, d1, _, h0, h1, _, n0, n1, _, s0, s1, _, f0, f1, f2, _] = &mut out;
    let (seconds, ms) = (of_day / 1000, of_day % 1000);
    let parts =
        [(month, m0, m1), (day, d0, d1), (seconds / 3600, h0, h1), (seconds / 60 % 60, n0, n1), (seconds % 60, s0, s1)];
    for (number, tens, units) in parts {
        let mut two = [0; 2];
        digits(&mut two, number);
        [*tens, *units] = two;
    }
    let (mut four, mut three) = ([0; 4], [0; 3]);
    digits(&mut four, year);
    digits(&mut three, ms);
    ([*y0, *y1, *y2, *y3], [*f0, *f1, *f2]) = (four, three);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_time() {
        let wrong = [
            "",
            "2026-11-22",
            "2026-11-22T20:16:00",
            "2026-11-22T20:16Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T20:60:00Z",
            "2026-11-22T20:16:61Z",
            "2026-11-22T20:16:00.Z",
            "2026-11-22T20:16:00+1:00",
            "2026-11-22T20:16:00+24:00",
            "2026-11-22T20:16:00Z ",
            "+2026-11-22T20:16:00Z",
            "2026-11-22T20:16:00+0100",
            "２026-11-22T20:16:00Z",
        ];
        for text in wrong {
            assert_eq!(rfc3339(text), None, "{text}");
        }
        assert_eq!(rfc3339("2026-11-22T20:16:00.123Z"), Some(1_795_378_560_123));
        assert_eq!(rfc3339("2026-11-22t21:16:00.1239999+01:00"), Some(1_795_378_560_123));
        assert_eq!(rfc3339("2024-02-29 00:00:60z"), rfc3339("2024-02-29T00:00:59Z"));
        for number in ["1.5", "1e3", "9223372036854775808", "253402300800000", "-62135596800001"] {
            assert_eq!(parse(&Token::Number(number)), None, "{number}");
        }
    }

    proptest! {
        #[test]
        fn equal_to_jiff(seconds in -62_000_000_000_i64..253_402_000_000, nanos in 0_i32..1_000_000_000, hours in -23_i8..=23, digits in 0_usize..=9) {
            let at = jiff::Timestamp::new(seconds, 0).unwrap();
            let zone = jiff::tz::Offset::from_hours(hours).unwrap();
            let mut text = at.to_zoned(zone.to_time_zone()).strftime("%Y-%m-%dT%H:%M:%S").to_string();
            if digits > 0 {
                text += &format!(".{}", &format!("{nanos:09}")[..digits]);
            }
            text += &format!("{}{:02}:00", if hours < 0 { '-' } else { '+' }, hours.abs());
            let jiff = text.parse::<jiff::Timestamp>().unwrap();
            prop_assert_eq!(rfc3339(&text), Some(jiff.as_nanosecond().div_euclid(1_000_000) as i64), "{}", text);
        }
        #[test]
        fn written_as_jiff_writes(ms in MIN_MS..253_402_000_000_000) {
            let jiff = jiff::Timestamp::from_millisecond(ms).unwrap();
            let text = String::from_utf8(civil(ms).unwrap().to_vec()).unwrap();
            prop_assert_eq!(&text, &format!("{jiff:.3}"));
            prop_assert_eq!(rfc3339(&text), Some(ms));
        }
        /// Whatever is taken, jiff takes too, and it is the same instant.
        #[test]
        fn nothing_that_jiff_refuses(text in "[0-9]{3,4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,4})?([Zz]|[+-][0-2][0-9]:[0-6][0-9])?") {
            if let Some(ms) = rfc3339(&text) {
                let jiff = text.parse::<jiff::Timestamp>().unwrap();
                prop_assert_eq!(ms, jiff.as_nanosecond().div_euclid(1_000_000) as i64);
            }
        }
    }
}
