//! A JSON array into the texts of its items, without parsing them: each item is judged on its own afterwards.
//!
//! An array that is JSON is taken apart by the JSON reader. One that is not is looked at once more: when brackets, strings and
//! commas are in order and at least one item is JSON, the fault lies inside single items (a Python client's `NaN`, say), and
//! those alone are refused.
//!
//! Deliberately absent: repair. Trailing commas, missing brackets, a byte order mark, other encodings than UTF-8 are 400.

use serde::Deserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Why a body is no array of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitError {
    /// Not an array of JSON.
    Malformed(String),
    /// More items than allowed.
    TooMany,
}

/// The items' texts, in order, at most `max`.
pub fn split(body: &[u8], max: usize) -> Result<Vec<&str>, SplitError> {
    let text = std::str::from_utf8(body)
        .map_err(|e| SplitError::Malformed(format!("invalid UTF-8 at byte {}", e.valid_up_to())))?;
    let mut too_many = false;
    let mut reader = serde_json::Deserializer::from_str(text);
    let strict = reader.deserialize_seq(Items { max, too_many: &mut too_many });
    match strict.and_then(|items| reader.end().map(|()| items)) {
        Ok(items) => Ok(items),
        Err(_) if too_many => Err(SplitError::TooMany),
        Err(why) => lenient(text, max).unwrap_or_else(|| Err(SplitError::Malformed(why.to_string()))),
    }
}

/// The members of an object by brackets, strings and commas alone: name and text of each value. `None`: those are not in order.
pub fn members(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut rest = text.trim_matches(SPACE).strip_prefix('{')?.strip_suffix('}')?;
    let mut members = Vec::new();
    loop {
        let (member, after) = next_item(rest)?;
        let (name, value) = member.strip_prefix('"')?.split_once('"')?;
        members.push((name, value.trim_start_matches(SPACE).strip_prefix(':')?.trim_matches(SPACE)));
        if members.len() == MEMBERS_MAX {
            return None;
        }
        match after {
            Some(after) => rest = after,
            None => return Some(members),
        }
    }
}
/// Members of an envelope that are looked at: those of SDKs have a handful.
const MEMBERS_MAX: usize = 64;

struct Items<'a> {
    max: usize,
    too_many: &'a mut bool,
}
impl<'de> Visitor<'de> for Items<'_> {
    type Value = Vec<&'de str>;
    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an array of events")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<&RawValue>()? {
            if items.len() == self.max {
                *self.too_many = true;
                return Err(A::Error::custom("too many events"));
            }
            items.push(item.get());
        }
        Ok(items)
    }
}

/// Items by brackets, strings and commas alone. `None`: those are not in order, or no item is JSON.
fn lenient(text: &str, max: usize) -> Option<Result<Vec<&str>, SplitError>> {
    let inner = text.trim_matches(SPACE).strip_prefix('[')?.strip_suffix(']')?;
    let mut items = Vec::new();
    let mut rest = inner;
    loop {
        let (item, after) = next_item(rest)?;
        if items.len() == max {
            return Some(Err(SplitError::TooMany));
        }
        items.push(item);
        match after {
            Some(after) => rest = after,
            None => break,
        }
    }
    let any_json = items.iter().any(|item| serde_json::from_str::<&RawValue>(item).is_ok());
    any_json.then_some(Ok(items))
}

/// White space of JSON.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// The text up to the next comma outside of brackets and strings, and what is behind the comma. An item that opens a bracket
/// must end where that closes, or two items without a comma between them would pass as one.
fn next_item(text: &str) -> Option<(&str, Option<&str>)> {
    let mut open = Vec::new();
    let (mut quoted, mut escaped, mut end) = (false, false, None);
    let mut closed_at = None;
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b',' if open.is_empty() => {
                end = Some(i);
                break;
            }
            b'{' | b'[' => open.push(byte),
            b'}' | b']' => {
                if (open.pop()? == b'{') != (byte == b'}') {
                    return None;
                }
                if open.is_empty() && closed_at.replace(i).is_some() {
                    return None;
                }
            }
            _ => {}
        }
    }
    let item = text.get(..end.unwrap_or(text.len()))?;
    let whole = closed_at.is_none_or(|at| item.get(at + 1..).is_some_and(|tail| tail.trim_matches(SPACE).is_empty()));
    let item = item.trim_matches(SPACE);
    let sound = !quoted && open.is_empty() && whole && !item.is_empty();
    sound.then_some((item, end.and_then(|end| text.get(end + 1..))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn malformed(body: &[u8]) -> bool {
        matches!(split(body, 100), Err(SplitError::Malformed(_)))
    }

    #[test]
    fn items_keep_their_bytes() {
        let items = split(br#" [ {"a" : [1, "],"]} ,2e5,"\u00e9" ] "#, 100).unwrap();
        assert_eq!(items, [r#"{"a" : [1, "],"]}"#, "2e5", r#""\u00e9""#]);
        assert_eq!(split(b"[]", 0), Ok(vec![]));
    }

    #[test]
    fn what_is_no_array_is_malformed() {
        let bodies: [&[u8]; 16] = [
            b"",
            b"[",
            b"]",
            b"{}",
            b"1",
            b"null",
            b"[{}",
            b"{}]",
            b"[{},]",
            b"[,{}]",
            b"[{},,{}]",
            b"[{}] x",
            b"[{}][{}]",
            b"[{} {}]",
            b"[{}, {]",
            b"[{}, [}]]",
        ];
        for body in bodies {
            assert!(malformed(body), "{}", String::from_utf8_lossy(body));
        }
        assert!(malformed(b"\xef\xbb\xbf[{}]") && malformed(b"[{}, \"\xff\"]") && malformed(b"[\0]"));
        assert!(malformed(br#"[{}, "unclosed]"#) && malformed(b"[{\"a\": NaN}]"), "no item is JSON");
    }

    #[test]
    fn a_fault_inside_an_item_is_that_items_own() {
        let items = split(br#"[{"a":1},{"a":NaN},{"b":"\q]"},nope, {"c":1,}]"#, 100).unwrap();
        assert_eq!(items, [r#"{"a":1}"#, r#"{"a":NaN}"#, r#"{"b":"\q]"}"#, "nope", r#"{"c":1,}"#]);
    }

    #[test]
    fn counting_stops_at_the_bound() {
        let body = |n| format!("[{}]", vec!["1"; n].join(","));
        assert_eq!(split(body(100).as_bytes(), 100).map(|i| i.len()), Ok(100));
        assert_eq!(split(body(101).as_bytes(), 100), Err(SplitError::TooMany));
        let broken = body(101).replacen('1', "NaN", 1);
        assert_eq!(split(broken.as_bytes(), 100), Err(SplitError::TooMany));
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(split(deep.as_bytes(), 100).map(|i| i.len()), Ok(1));
    }

    proptest! {
        /// Whatever the second look takes apart, joining the items gives an array with the same items.
        #[test]
        fn splitting_and_joining_are_inverse(body in r#"\[[\[\]{},"\\: a1]{0,30}\]"#) {
            if let Ok(items) = split(body.as_bytes(), 1_000) {
                let again = format!("[{}]", items.join(","));
                prop_assert_eq!(split(again.as_bytes(), 1_000).unwrap(), items);
            }
        }

        /// JSON is always taken apart by the strict reader; the second look agrees with it.
        #[test]
        fn both_ways_agree_on_json(values in prop::collection::vec(r#"[a-z\[\]{},\\"]{0,8}"#, 1..9)) {
            let body = serde_json::to_string(&values).unwrap();
            prop_assert_eq!(lenient(&body, 100).unwrap().unwrap(), split(body.as_bytes(), 100).unwrap());
        }
    }
}
