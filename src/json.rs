//! Small pieces of JSON handling for records that must keep their bytes.
//!
//! Deliberately absent: a tree of values. Numbers are never read and written again: their last digit would be at stake.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The members of an object in their order, values as they are written.
#[derive(Clone, Debug, Default)]
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Of an object; an error for anything else.
    pub fn parse(json: &'a str) -> serde_json::Result<Members<'a>> {
        serde_json::from_str(json)
    }
    /// The last value of a name.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
    /// Writes the object without the members named.
    pub fn without(&self, names: &[&str]) -> String {
        let mut out = String::from("{");
        for (name, value) in self.0.iter().filter(|(name, _)| !names.contains(&name.as_ref())) {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&quoted(name));
            out.push(':');
            out.push_str(value.get());
        }
        out.push('}');
        out
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = vec![];
                while let Some(name) = map.next_key::<String>()? {
                    members.push((Cow::Owned(name), map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text, number or boolean as text; `None` for null, arrays and objects.
pub fn scalar(value: &RawValue) -> Option<String> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok(),
        b'n' | b'[' | b'{' => None,
        _ => Some(text.to_owned()),
    }
}

/// A time as this project writes it: RFC 3339 with an offset, or integer milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub i64);

impl Time {
    /// From the text of a parameter or a JSON string.
    pub fn parse(text: &str) -> Option<Time> {
        if let Ok(ms) = text.parse() {
            return Some(Time(ms));
        }
        text.parse::<jiff::Timestamp>().ok().map(|time| Time(time.as_millisecond()))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let time = match &value {
            serde_json::Value::String(text) => Time::parse(text),
            other => other.as_i64().map(Time),
        };
        time.ok_or_else(|| D::Error::custom("a time is RFC 3339 with an offset or integer milliseconds"))
    }
}

/// Milliseconds as RFC 3339 with milliseconds, UTC; empty for a time outside of the calendar.
pub fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_bytes() {
        let json = r#"{"a":1.10,"b":{"x":[1e400]},"features":"AAAA","q\"":"\u0000"}"#;
        let members = Members::parse(json).unwrap();
        assert_eq!(members.without(&["features"]), r#"{"a":1.10,"b":{"x":[1e400]},"q\"":"\u0000"}"#);
        assert_eq!(members.get("a").unwrap().get(), "1.10");
        assert!(Members::parse("[1]").is_err());
    }

    #[test]
    fn times_of_both_forms() {
        assert_eq!(Time::parse("2026-11-22T20:16:00.123Z"), Some(Time(1_795_378_560_123)));
        assert_eq!(Time::parse("2026-11-22T21:16:00.123+01:00"), Some(Time(1_795_378_560_123)));
        assert_eq!(serde_json::from_str::<Time>("1795378560123").unwrap(), Time(1_795_378_560_123));
        assert_eq!(rfc3339(1_795_378_560_120), "2026-11-22T20:16:00.120Z");
        assert!(Time::parse("2026-11-22T20:16:00").is_none() && serde_json::from_str::<Time>("1.5").is_err());
    }
}
