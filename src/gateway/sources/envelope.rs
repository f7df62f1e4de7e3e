//! The object around a batch: its members, and the list of items, each for itself.
//!
//! A body that is JSON is read once, in one go. One that is not is looked at again by brackets, strings and commas, as with native
//! batches: a fault inside an item (a Python client's `NaN`, a hundred levels) is that item's own.

use super::found::Found;
use crate::gateway::split::{self, SplitError};
use pulse_operators::record::Reject;
use pulse_operators::record::json::{JsonError, Reader, Text};

/// Why a body is of no use at all.
#[derive(Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is not what the way in takes.
    Malformed(String),
    /// More items than allowed.
    TooMany,
}

impl From<JsonError> for Unusable {
    fn from(error: JsonError) -> Unusable {
        Unusable::Malformed(said(error))
    }
}

/// What is wrong with a text.
pub fn said(error: JsonError) -> String {
    match error {
        JsonError::Syntax(what, at) => format!("{what} at byte {at}"),
        JsonError::TooDeep => "too many levels of brackets".into(),
    }
}

/// How a way in reads its bodies.
pub trait Format {
    /// Name of the member that is the list.
    const LIST: &'static str;
    /// Reads a member of the envelope that is not the list, standing before its value.
    fn member<'a>(&mut self, key: &Text<'a>, reader: &mut Reader<'a>, found: &mut Found<'a>) -> Result<(), JsonError>;
    /// Reads an item, standing before it; what it is goes to `found`. `text`: where `reader` reads.
    fn item<'a>(&mut self, text: &'a str, reader: &mut Reader<'a>, found: &mut Found<'a>) -> Result<(), JsonError>;
}

/// Reads an envelope with its list, at most `max` items.
pub fn read<'a>(body: &'a str, max: usize, format: &mut impl Format, found: &mut Found<'a>) -> Result<(), Unusable> {
    match strictly(body, max, format, found) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Unusable::TooMany),
        Err(why) => {
            found.clear();
            leniently(body, max, format, found).unwrap_or_else(|| Err(why.into()))
        }
    }
}

/// `false`: too many.
fn strictly<'a, F: Format>(
    body: &'a str,
    max: usize,
    format: &mut F,
    found: &mut Found<'a>,
) -> Result<bool, JsonError> {
    let mut reader = Reader::new(body);
    if !reader.open(b'{')? {
        return Err(JsonError::Syntax("expected an object", 0));
    }
    let (mut first, mut there) = (true, false);
    while let Some(key) = reader.key(first)? {
        first = false;
        if key.value() != F::LIST || there {
            format.member(&key, &mut reader, found)?;
            continue;
        }
        if !reader.open(b'[')? {
            return Err(JsonError::Syntax("expected a list of events", reader.at()));
        }
        there = true;
        let mut before = true;
        while reader.element(before)? {
            before = false;
            if found.len() == max {
                return Ok(false);
            }
            format.item(body, &mut reader, found)?;
        }
    }
    reader.end()?;
    if there { Ok(true) } else { Err(JsonError::Syntax("there is no list of events", reader.at())) }
}

/// `None`: brackets, strings and commas are not in order, or there is no list.
fn leniently<'a, F: Format>(
    body: &'a str,
    max: usize,
    format: &mut F,
    found: &mut Found<'a>,
) -> Option<Result<(), Unusable>> {
    let members = split::members(body)?;
    let (_, list) = members.iter().find(|(name, _)| *name == F::LIST)?;
    let items = match split::split(list.as_bytes(), max) {
        Ok(items) => items,
        Err(SplitError::TooMany) => return Some(Err(Unusable::TooMany)),
        Err(SplitError::Malformed(_)) => return None,
    };
    for (name, value) in members.iter().filter(|(name, _)| *name != F::LIST) {
        let mut reader = Reader::new(value);
        let key = Text::plain(name);
        format.member(&key, &mut reader, found).ok()?;
    }
    items.into_iter().for_each(|item| alone(item, format, found));
    Some(Ok(()))
}

/// A body that is a list without an envelope.
pub fn list<'a>(body: &'a str, max: usize, format: &mut impl Format, found: &mut Found<'a>) -> Result<(), Unusable> {
    let items = split::split(body.as_bytes(), max).map_err(|error| match error {
        SplitError::TooMany => Unusable::TooMany,
        SplitError::Malformed(why) => Unusable::Malformed(why),
    })?;
    items.into_iter().for_each(|item| alone(item, format, found));
    Ok(())
}

/// An item whose text is known.
fn alone<'a>(item: &'a str, format: &mut impl Format, found: &mut Found<'a>) {
    let (mark, mut reader) = (found.mark(), Reader::new(item));
    if let Err(error) = format.item(item, &mut reader, found) {
        found.refuse_from(mark, item, json_reject(error));
    }
}

/// Where an item begins.
pub fn begin(reader: &mut Reader) -> usize {
    reader.text_next(); // goes over white space
    reader.at()
}

/// An item that is no object is refused.
pub fn no_object<'a>(
    text: &'a str,
    from: usize,
    reader: &mut Reader<'a>,
    found: &mut Found<'a>,
) -> Result<(), JsonError> {
    reader.value(&mut ())?;
    let reject = Reject { code: "invalid_json", message: "expected an object".into() };
    found.refused(text.get(from..reader.at()).unwrap_or_default(), reject);
    Ok(())
}

/// As the check of native events says it.
pub fn json_reject(error: JsonError) -> Reject {
    let code = if error == JsonError::TooDeep { "too_deep" } else { "invalid_json" };
    Reject { code, message: said(error) }
}
