//! Segment's tracking API: `track`, `page`, `screen`, `identify`, `group`, `alias`, one a request or in `batch`; RudderStack's is
//! the same but for a few members (see `rudderstack`).
//!
//! | theirs | native event |
//! |---|---|
//! | `track` with a name of Segment's e-commerce specification | its type, such as `order.completed` |
//! | `track` with another name | the name as the type |
//! | `page`, `screen`, `identify`, `group`, `alias` | `page.viewed`, `screen.viewed`, `user.identified`, `user.grouped`, `user.aliased` |
//! | `messageId` | `id` |
//! | `userId`; `anonymousId` or `context.device.id` | `customer_id`; `device_id` |
//! | `context.ip`, `context.userAgent`, `context.sessionId` | `ip`, `user_agent`, `session_id` |
//! | `timestamp`, corrected by `sentAt` when that clock is a minute off or more | `time` |
//! | `properties`: known ones | members of the event; what has no place stays in `properties` |
//! | `traits`, `context.traits`: `email` | `email_hash`; other traits are not kept |
//!
//! Deliberately absent: `integrations`, `context` beyond these members.

use super::commerce::{Properties, Room, event_type};
use super::envelope::{self, Format, Unusable};
use super::found::{Found, Lacks};
use super::native::{first, given};
use super::{Way, rudderstack};
use pulse_operators::record::Reject;
use pulse_operators::record::json::{JsonError, Reader, Text, Token};
use pulse_operators::record::time;
use std::borrow::Cow;

/// The format; holds room that is used again for each event.
#[derive(Default)]
pub struct Segment {
    /// What a single call is; in batches each item says it.
    call: Option<&'static str>,
    room: Room,
}

/// Members of an item that are not properties.
#[derive(Default)]
struct Call<'a> {
    kind: Token<'a>,
    event: Token<'a>,
    name: Token<'a>,
    category: Token<'a>,
    group: Token<'a>,
    previous: Token<'a>,
    id: Token<'a>,
    user: Token<'a>,
    anonymous: Token<'a>,
    timestamp: Token<'a>,
    original: Token<'a>,
    key: Token<'a>,
    sent: Token<'a>,
    email: Token<'a>,
    context: Context<'a>,
}

/// What is read of `context`.
#[derive(Default)]
struct Context<'a> {
    ip: Token<'a>,
    user_agent: Token<'a>,
    device: Token<'a>,
    session: Token<'a>,
    email: Token<'a>,
}

/// One call in a body of its own.
pub fn single<'a>(call: &'static str, body: &'a str, found: &mut Found<'a>) -> Result<(), Unusable> {
    let mut format = Segment { call: Some(call), ..Segment::default() };
    let mut reader = Reader::new(body);
    format.item(body, &mut reader, found)?;
    reader.end()?;
    Ok(())
}

/// Several.
pub fn batch<'a>(body: &'a str, max: usize, found: &mut Found<'a>) -> Result<(), Unusable> {
    envelope::read(body, max, &mut Segment::default(), found)
}

impl Format for Segment {
    const LIST: &'static str = "batch";
    fn member<'a>(&mut self, key: &Text<'a>, reader: &mut Reader<'a>, found: &mut Found<'a>) -> Result<(), JsonError> {
        let token = reader.value(&mut ())?;
        match key.value().as_bytes() {
            b"writeKey" => found.key = text(&token),
            b"sentAt" => found.sent_ms = time::parse(&token),
            _ => {}
        }
        Ok(())
    }
    fn item<'a>(&mut self, text: &'a str, reader: &mut Reader<'a>, found: &mut Found<'a>) -> Result<(), JsonError> {
        let from = envelope::begin(reader);
        if !reader.open(b'{')? {
            return envelope::no_object(text, from, reader, found);
        }
        self.room.clear();
        let mut call = Call::default();
        let mut properties = Properties::default();
        let mut begun = true;
        while let Some(key) = reader.key(begun)? {
            begun = false;
            match key.value().as_bytes() {
                b"properties" => properties.read(reader, &mut self.room)?,
                b"context" => call.context.read(reader)?,
                b"traits" => call.email = email(reader)?,
                other => {
                    if rudderstack::marks(other) {
                        found.way = Some(Way::Rudderstack);
                    }
                    call.set(other, reader.value(&mut ())?);
                }
            }
        }
        let theirs = text.get(from..reader.at()).unwrap_or_default();
        self.write(call, properties, theirs, found);
        Ok(())
    }
}

impl<'a> Call<'a> {
    fn set(&mut self, name: &[u8], token: Token<'a>) {
        let place = match name {
            b"type" => &mut self.kind,
            b"event" => &mut self.event,
            b"name" => &mut self.name,
            b"category" => &mut self.category,
            b"groupId" => &mut self.group,
            b"previousId" => &mut self.previous,
            b"messageId" => &mut self.id,
            b"userId" => &mut self.user,
            b"anonymousId" => &mut self.anonymous,
            b"timestamp" => &mut self.timestamp,
            b"originalTimestamp" => &mut self.original,
            b"writeKey" => &mut self.key,
            b"sentAt" => &mut self.sent,
            _ => return,
        };
        *place = token;
    }
    /// The native type, or why there is none.
    fn event_type(&self, call: Option<&'static str>) -> Result<Cow<'a, str>, Reject> {
        let kind = call.map_or_else(|| text(&self.kind), |call| Some(Cow::Borrowed(call)));
        let missing = |what: &str| Reject { code: "missing_field", message: format!("{what} is missing") };
        Ok(Cow::Borrowed(match kind.as_deref() {
            Some("track") => match &self.event {
                Token::Text(name) if !name.raw.is_empty() => return Ok(event_type(name)),
                _ => return Err(missing("event")),
            },
            Some("page") => "page.viewed",
            Some("screen") => "screen.viewed",
            Some("identify") => "user.identified",
            Some("group") => "user.grouped",
            Some("alias") => "user.aliased",
            Some(_) => {
                let message = "type must be track, page, screen, identify, group or alias".into();
                return Err(Reject { code: "invalid_field", message });
            }
            None => return Err(missing("type")),
        }))
    }
}

impl<'a> Context<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), JsonError> {
        if !reader.open(b'{')? {
            return reader.value(&mut ()).map(|_| ());
        }
        let mut begun = true;
        while let Some(key) = reader.key(begun)? {
            begun = false;
            match key.value().as_bytes() {
                b"ip" => self.ip = reader.value(&mut ())?,
                b"userAgent" => self.user_agent = reader.value(&mut ())?,
                b"sessionId" => self.session = reader.value(&mut ())?,
                b"traits" => self.email = email(reader)?,
                b"device" => self.device = member(reader, b"id")?,
                _ => drop(reader.value(&mut ())?),
            }
        }
        Ok(())
    }
}

/// The `email` of an object that comes next.
fn email<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, JsonError> {
    member(reader, b"email")
}

/// One member of an object that comes next; absent in anything else.
pub fn member<'a>(reader: &mut Reader<'a>, name: &[u8]) -> Result<Token<'a>, JsonError> {
    let mut found = Token::Absent;
    if !reader.open(b'{')? {
        reader.value(&mut ())?;
        return Ok(found);
    }
    let mut begun = true;
    while let Some(key) = reader.key(begun)? {
        begun = false;
        let token = reader.value(&mut ())?;
        if key.value().as_bytes() == name {
            found = token;
        }
    }
    Ok(found)
}

/// A text that is not empty.
pub fn text<'a>(token: &Token<'a>) -> Option<Cow<'a, str>> {
    match token {
        Token::Text(text) if !text.raw.is_empty() => Some(text.value()),
        _ => None,
    }
}

impl Segment {
    fn write<'a>(&mut self, call: Call<'a>, mut of: Properties<'a>, theirs: &'a str, found: &mut Found<'a>) {
        if self.call.is_some() {
            found.key = text(&call.key);
            found.sent_ms = time::parse(&call.sent);
        }
        let kind = match call.event_type(self.call) {
            Ok(kind) => kind,
            Err(reject) => return found.refused(theirs, reject),
        };
        let timestamp = first(&[call.original, call.timestamp]);
        let time_ms = time::parse(&timestamp);
        if given(&timestamp) && time_ms.is_none() {
            let message = "timestamp must be RFC 3339 with an offset".into();
            return found.refused(theirs, Reject { code: "invalid_field", message });
        }
        of.ip = first(&[call.context.ip, of.ip]);
        of.user_agent = first(&[call.context.user_agent, of.user_agent]);
        of.session = first(&[call.context.session, of.session]);
        of.device = first(&[call.context.device, call.anonymous, of.device]);
        of.email = first(&[call.email, call.context.email, of.email]);
        let mut note = self.room.note();
        note.word("page", &call.name);
        note.word("page_category", &call.category);
        note.id("group_id", &call.group);
        note.id("previous_id", &call.previous);
        let mark = found.mark();
        let mut native = found.begin();
        native.id("id", &call.id);
        native.text("type", &kind);
        native.id("customer_id", &call.user);
        of.write(&mut native, &mut self.room);
        native.end();
        let lacks = Lacks { ip: !given(&of.ip), user_agent: !given(&of.user_agent) };
        found.event(theirs, mark, time_ms, None, lacks);
    }
}
