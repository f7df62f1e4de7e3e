//! Card numbers in text: found, and all but their last four digits masked.
//!
//! A card number is a run of 13-19 digits that passes the Luhn check, or such digits in the groups in which cards print
//! them (4-4-4-4, 4-6-5, ...), with one space or hyphen between groups. Escaped digits (`\u0034`) count as digits.
//! Deliberately absent: which fields are looked at (ids are not, see [`super::fields`]).

use super::json::{Text, Units, Watch};

/// Fewest and most digits of a card number (ISO/IEC 7812).
const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// Digits that stay.
const SHOWN: usize = 4;
/// Groups in which card numbers are printed.
const GROUPS: [&[usize]; 7] =
    [&[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4], &[4, 4, 4, 4, 3], &[4, 4, 4, 4, 2], &[4, 4, 4, 4, 1], &[4, 4, 5]];

/// The Luhn check over digits 0-9.
pub fn luhn(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    let sum: u32 = digits
        .rev()
        .enumerate()
        .map(|(i, digit)| match u32::from(digit) {
            digit if i % 2 == 0 => digit,
            digit if digit > 4 => digit * 2 - 9,
            digit => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// A digit of a text: its value and the bytes that write it.
#[derive(Clone, Copy)]
struct Digit {
    value: u8,
    at: usize,
    length: usize,
}

/// Collects the pieces of a JSON text that must be masked.
#[derive(Debug, Default)]
pub struct Cards {
    /// Byte and number of bytes of each digit to be replaced.
    pieces: Vec<(usize, usize)>,
    /// Card numbers found.
    pub count: u32,
}

impl Watch for Cards {
    #[inline]
    fn text(&mut self, text: &Text<'_>) {
        if text.raw.len() >= *DIGITS.start() && (text.escaped || worth_a_look(text.raw)) {
            self.search(text);
        }
    }
}

/// Has an unescaped text 13 digits with nothing but single spaces and hyphens between them?
fn worth_a_look(raw: &str) -> bool {
    let (mut digits, mut separated) = (0, false);
    for byte in raw.bytes() {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                separated = false;
                if digits >= *DIGITS.start() {
                    return true;
                }
            }
            b' ' | b'-' if !separated => separated = true,
            _ => digits = 0,
        }
    }
    false
}

impl Cards {
    /// Splits the text into runs of digits and looks at each run and at runs joined by one separator.
    fn search(&mut self, text: &Text<'_>) {
        let mut digits: Vec<Digit> = Vec::new();
        let mut runs: Vec<usize> = Vec::new(); // lengths of runs joined so far
        let (mut in_run, mut separators) = (false, 0);
        let units = Units::new(text.raw).map(Some).chain([None]);
        for unit in units {
            let digit = unit.and_then(|(c, at, length)| {
                Some(Digit { value: c.to_digit(10)? as u8, at: text.at as usize + at, length })
            });
            if let Some(digit) = digit {
                if !in_run {
                    runs.push(0);
                }
                in_run = true;
                separators = 0;
                digits.push(digit);
                if let Some(last) = runs.last_mut() {
                    *last += 1;
                }
                continue;
            }
            in_run = false;
            separators += 1;
            let joins = separators == 1 && unit.is_some_and(|(c, _, _)| c == ' ' || c == '-');
            if !joins {
                self.judge(&digits, &runs);
                digits.clear();
                runs.clear();
            }
        }
    }

    /// Runs that are joined by single separators: each run alone first, then every window that is grouped like a card.
    fn judge(&mut self, digits: &[Digit], runs: &[usize]) {
        let mut start = 0;
        let mut taken = 0; // digits before this one are in a card already
        for (i, length) in runs.iter().enumerate() {
            let first = start;
            start += length;
            if first < taken {
                continue;
            }
            let alone = Some(*length).filter(|length| DIGITS.contains(length));
            let rest = runs.get(i..).unwrap_or_default();
            let grouped = GROUPS.iter().filter(|groups| rest.starts_with(groups)).map(|groups| groups.iter().sum());
            let found = alone.into_iter().chain(grouped).find(|length| {
                digits.get(first..first + length).is_some_and(|card| luhn(card.iter().map(|digit| digit.value)))
            });
            if let Some(length) = found {
                taken = first + length;
                self.count += 1;
                let masked = digits.get(first..taken - SHOWN).unwrap_or_default();
                self.pieces.extend(masked.iter().map(|digit| (digit.at, digit.length)));
            }
        }
    }

    /// The JSON with an asterisk for each masked digit, and `insert` (position, text, bytes replaced) put in.
    pub fn rewrite(&self, json: &[u8], inserts: &[(usize, String, usize)]) -> Vec<u8> {
        let more: usize = inserts.iter().map(|insert| insert.1.len()).sum();
        let mut edits: Vec<(usize, usize, &str)> = self.pieces.iter().map(|piece| (piece.0, piece.1, "*")).collect();
        edits.extend(inserts.iter().map(|insert| (insert.0, insert.2, insert.1.as_str())));
        edits.sort_by_key(|edit| edit.0); // stable: inserts at one place keep their order
        let mut body = Vec::with_capacity(json.len() + more);
        let mut from = 0;
        for (at, replaced, text) in edits {
            body.extend_from_slice(json.get(from..at).unwrap_or_default());
            body.extend_from_slice(text.as_bytes());
            from = at + replaced;
        }
        body.extend_from_slice(json.get(from..).unwrap_or_default());
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(raw: &str) -> (String, u32) {
        let mut cards = Cards::default();
        cards.text(&Text { raw, at: 0, escaped: raw.contains('\\') });
        (String::from_utf8(cards.rewrite(raw.as_bytes(), &[])).unwrap(), cards.count)
    }

    #[test]
    fn cards_are_masked() {
        let table = [
            ("4111111111111111", "************1111"),
            ("card 4111111111111111!", "card ************1111!"),
            ("no4111111111111111x", "no************1111x"),
            ("4111 1111 1111 1111", "**** **** **** 1111"),
            ("4111-1111-1111-1111", "****-****-****-1111"),
            ("3782 822463 10005", "**** ****** *0005"),
            ("378282246310005", "***********0005"),
            ("6304000000000000000", "***************0000"),
            ("2026 4111 1111 1111 1111", "2026 **** **** **** 1111"),
            (r"\u0034111111111111111", "************1111"),
            ("4111111111111111 5555555555554444", "************1111 ************4444"),
        ];
        for (raw, expected) in table {
            let (text, count) = masked(raw);
            assert_eq!(text, expected);
            assert_eq!(count as usize, raw.matches("5555555555554444").count() + 1);
        }
    }

    #[test]
    fn other_numbers_stay() {
        for raw in [
            "4111111111111112",
            "411111111111",
            "41111111111111111111",
            "4111  1111  1111  1111",
            "411 1111 1111 11111",
            "+49 30 1234567 2026-11-22",
            "2026-11-22T20:16:00.123456789Z",
            r"4111111\n111111111",
        ] {
            assert_eq!(masked(raw), (raw.to_owned(), 0));
        }
    }
}
