//! CloudEvents 1.0 over HTTP: structured, batched, binary. `data` is a native event without its envelope.
//!
//! | theirs | native event |
//! |---|---|
//! | `id`, `source`, `time` | `id`, `source`, `time` |
//! | `type`: a native type, alone or behind a prefix such as `com.example.` | `type` |
//! | another `type` | `type`, as it is |
//! | members of `data` (JSON; `data_base64` likewise) | the same members |
//! | `subject`, extension attributes | members of `properties` |
//!
//! Deliberately absent: data that is no JSON object; Protobuf and XML envelopes.

use super::envelope::{Unusable, json_reject};
use super::found::{Found, Lacks};
use super::native::{Members, given};
use super::segment::text;
use crate::gateway::split::{SplitError, split};
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use pulse_operators::record::json::{JsonError, Reader, Text, Token};
use pulse_operators::record::{EventType, Reject, time};
use std::borrow::Cow;

/// How an event travels, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Attributes in headers, data in the body.
    Binary,
    /// One event in the body.
    Structured,
    /// A list of events in the body.
    Batched,
}

impl Mode {
    /// From `Content-Type`, in any case.
    pub fn of(headers: &HeaderMap) -> Mode {
        let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let media = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media.as_str() {
            "application/cloudevents+json" => Mode::Structured,
            "application/cloudevents-batch+json" => Mode::Batched,
            _ => Mode::Binary,
        }
    }
}

/// Members of `data` that the envelope has the say over.
const ENVELOPE: [&str; 4] = ["id", "type", "source", "time"];

/// Reads a request of any mode.
pub fn translate<'a>(
    mode: Mode,
    headers: &HeaderMap,
    body: &'a str,
    max: usize,
    found: &mut Found<'a>,
) -> Result<(), Unusable> {
    match mode {
        Mode::Batched => {
            let items = split(body.as_bytes(), max).map_err(|error| match error {
                SplitError::TooMany => Unusable::TooMany,
                SplitError::Malformed(why) => Unusable::Malformed(format!("the body is no JSON array: {why}")),
            })?;
            items.into_iter().for_each(|item| structured(item, found));
        }
        Mode::Structured => {
            serde_json::from_str::<&serde_json::value::RawValue>(body)
                .map_err(|e| Unusable::Malformed(e.to_string()))?;
            structured(body, found);
        }
        Mode::Binary => binary(headers, body, found)?,
    }
    Ok(())
}

/// The attributes of an event.
struct Event<'a> {
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    /// `Some(None)`: it cannot be read.
    time: Option<Option<i64>>,
    version: Option<Cow<'a, str>>,
    data: Members,
    rest: Members,
    lacks: Lacks,
}

fn structured<'a>(item: &'a str, found: &mut Found<'a>) {
    let mut event = Event::new();
    let read = event.read(item).map_err(json_reject).and_then(|wrong| wrong.map_or(Ok(()), Err));
    match read {
        Ok(()) => event.write(item, found),
        Err(reject) => found.refused(item, reject),
    }
}

fn wrong(message: &str) -> Reject {
    Reject { code: "invalid_field", message: message.into() }
}

impl<'a> Event<'a> {
    fn new() -> Event<'a> {
        let (data, rest) = (Members::default(), Members::default());
        Event { id: None, source: None, kind: None, time: None, version: None, data, rest, lacks: Lacks::ALL }
    }
    /// JSON that cannot be read, or else what is wrong with its data.
    fn read(&mut self, item: &'a str) -> Result<Option<Reject>, JsonError> {
        let mut reader = Reader::new(item);
        if !reader.open(b'{')? {
            return Err(JsonError::Syntax("expected an object", 0));
        }
        let (mut first, mut reject) = (true, None);
        while let Some(key) = reader.key(first)? {
            first = false;
            let name = key.value();
            match name.as_bytes() {
                b"data" => {
                    if !self.data(&mut reader)? {
                        reject = Some(wrong("data must be a JSON object"));
                    }
                    continue;
                }
                b"data_base64" => {
                    let token = reader.value(&mut ())?;
                    reject = self.base64(&token).err();
                    continue;
                }
                _ => {}
            }
            let token = reader.value(&mut ())?;
            match name.as_bytes() {
                b"id" => self.id = text(&token),
                b"source" => self.source = text(&token),
                b"type" => self.kind = text(&token),
                b"time" if given(&token) => self.time = Some(time::parse(&token)),
                b"time" => {}
                b"specversion" => self.version = text(&token),
                b"datacontenttype" | b"dataschema" => {}
                _ => self.rest.keep(&key, &token),
            }
        }
        reader.end()?;
        Ok(reject)
    }
    /// The data that comes next; `false` when it is no object.
    fn data(&mut self, reader: &mut Reader) -> Result<bool, JsonError> {
        if !reader.open(b'{')? {
            return Ok(matches!(reader.value(&mut ())?, Token::Null(_)));
        }
        let mut first = true;
        while let Some(key) = reader.key(first)? {
            first = false;
            let token = reader.value(&mut ())?;
            let name = key.value();
            if ENVELOPE.contains(&&*name) {
                continue;
            }
            self.lacks.ip &= name != "ip";
            self.lacks.user_agent &= name != "user_agent";
            self.data.keep(&key, &token);
        }
        Ok(true)
    }
    fn base64(&mut self, token: &Token) -> Result<(), Reject> {
        let no_base64 = || wrong("data_base64 must be base64 of a JSON object");
        let bytes = text(token).and_then(|t| STANDARD.decode(t.as_bytes()).ok()).ok_or_else(no_base64)?;
        let json = String::from_utf8(bytes).map_err(|_| no_base64())?;
        let mut reader = Reader::new(&json);
        let whole = self.data(&mut reader).map_err(json_reject)?;
        reader.end().map_err(json_reject)?;
        if whole { Ok(()) } else { Err(no_base64()) }
    }
    fn write(self, theirs: &'a str, found: &mut Found<'a>) {
        let missing = |name: &str| Reject { code: "missing_field", message: format!("{name} is missing") };
        if self.version.as_deref() != Some("1.0") {
            return found.refused(theirs, wrong("specversion must be 1.0"));
        }
        let (Some(id), Some(kind), Some(source)) = (&self.id, &self.kind, self.source) else {
            let name = if self.id.is_none() { "id" } else { self.kind.map_or("type", |_| "source") };
            return found.refused(theirs, missing(name));
        };
        if self.time == Some(None) {
            return found.refused(theirs, wrong("time must be RFC 3339 with an offset"));
        }
        let time_ms = self.time.flatten();
        let mark = found.mark();
        let mut native = found.begin();
        native.text("id", id);
        native.text("type", event_type(kind));
        native.members(&self.data);
        native.object("properties", &self.rest);
        native.end();
        found.event(theirs, mark, time_ms, Some(source), self.lacks);
    }
}

/// The native type at the end of a type, such as `com.example.order.completed`; else the whole.
pub fn event_type(theirs: &str) -> &str {
    let known = |name: &&str| EventType::parse(name) != EventType::Unknown;
    let ends = theirs.match_indices('.').filter_map(|(at, _)| theirs.get(at + 1..));
    std::iter::once(theirs).chain(ends).find(known).unwrap_or(theirs)
}

/// An attribute from a header: percent-decoded once, quotes taken away.
fn attribute(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    let Some(quoted) = decoded.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Some(decoded.into_owned());
    };
    let mut plain = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next()? } else { c });
    }
    Some(plain)
}

/// Attributes longer than this are refused: the longest that is used is an id.
const ATTRIBUTE_BYTES_MAX: usize = 2_048;

/// The attributes that stand in headers.
fn from_headers<'a>(headers: &HeaderMap) -> Result<Event<'a>, &'static str> {
    let mut event = Event::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let value = Some(value.as_bytes()).filter(|v| v.len() <= ATTRIBUTE_BYTES_MAX).and_then(attribute);
        let value = Some(value.ok_or("a ce- header is no percent-encoded UTF-8")?).filter(|v| !v.is_empty());
        let owned = value.map(Cow::Owned);
        match name {
            "id" => event.id = owned,
            "source" => event.source = owned,
            "type" => event.kind = owned,
            "time" => event.time = owned.map(|when| time::parse(&Token::Text(Text::plain(&when)))),
            "specversion" => event.version = owned,
            "datacontenttype" => return Err("ce-datacontenttype must not be there: Content-Type says it"),
            "dataschema" => {}
            other => event.rest.writer().text(other, &owned.unwrap_or_default()),
        }
    }
    match (&event.version, &event.kind) {
        (None, None) => Err("neither ce- headers nor a media type of CloudEvents"),
        _ => Ok(event),
    }
}

fn binary<'a>(headers: &HeaderMap, body: &'a str, found: &mut Found<'a>) -> Result<(), Unusable> {
    let mut event = from_headers(headers).map_err(|why| Unusable::Malformed(why.into()))?;
    let mut reader = Reader::new(body);
    let read = match body.trim().is_empty() {
        true => Ok(true),
        false => event.data(&mut reader).and_then(|whole| reader.end().map(|()| whole)),
    };
    match read {
        Ok(true) => event.write(body, found),
        Ok(false) => found.refused(body, wrong("the body must be a JSON object")),
        Err(error) => found.refused(body, json_reject(error)),
    }
    Ok(())
}
