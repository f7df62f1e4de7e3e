//! PostHog's capture API: `/batch`, `/capture`, `/e`, as its SDKs and its script for pages send it.
//!
//! | theirs | native event |
//! |---|---|
//! | `event`: a known name | its type, such as `order.completed` |
//! | `$pageview`, `$screen`, `$identify` and `$set`, `$create_alias`, `$groupidentify` | `page.viewed`, `screen.viewed`, `user.identified`, `user.aliased`, `user.grouped` |
//! | another `event` | the name as the type |
//! | `uuid` | `id` |
//! | `distinct_id`, unless it is the device's | `customer_id` |
//! | `timestamp`, corrected by `sent_at` when that clock is a minute off or more | `time` |
//! | `properties.$device_id`, `$session_id`, `$ip`, `$raw_user_agent` | `device_id`, `session_id`, `ip`, `user_agent` |
//! | `properties`: known ones | members of the event; what has no place stays in `properties` |
//! | `$set.email`, `$set_once.email` | `email_hash`; other traits are not kept |
//!
//! Deliberately absent: feature flags, session recordings, and what `$autocapture` sees on a page: those are counted and ignored.

use super::commerce::{Properties, Room, event_type};
use super::envelope::{self, Format, Unusable};
use super::found::{Found, Lacks};
use super::native::{first, given};
use super::segment::{member, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode;
use pulse_operators::record::Reject;
use pulse_operators::record::json::{JsonError, Reader, Text, Token};
use pulse_operators::record::time;
use std::borrow::Cow;

/// Names of theirs that mean nothing here.
const IGNORED: [&str; 9] = [
    "$autocapture",
    "$pageleave",
    "$snapshot",
    "$web_vitals",
    "$rageclick",
    "$heatmap",
    "$$heatmap",
    "$feature_flag_called",
    "$exception",
];

/// The format; holds room that is used again for each event.
#[derive(Default)]
pub struct Posthog {
    room: Room,
}

#[derive(Default)]
struct Captured<'a> {
    event: Token<'a>,
    id: Token<'a>,
    who: Token<'a>,
    timestamp: Token<'a>,
    key: Token<'a>,
    sent: Token<'a>,
    email: Token<'a>,
}

/// Reads a body: a batch, one event, or a list of events.
pub fn translate<'a>(body: &'a str, max: usize, found: &mut Found<'a>) -> Result<(), Unusable> {
    let mut format = Posthog::default();
    if body.trim_start().starts_with('[') {
        return envelope::list(body, max, &mut format, found);
    }
    match envelope::read(body, max, &mut format, found) {
        // no list: a single event
        Err(Unusable::Malformed(why)) => {
            found.clear();
            let mut reader = Reader::new(body);
            let read = format.item(body, &mut reader, found).and_then(|()| reader.end());
            read.map_err(|_| Unusable::Malformed(why))
        }
        read => read,
    }
}

/// A body as its script for pages packs it: gzip whatever the headers say, or a form with base64 in `data`. `None`: as it came.
pub fn form(body: &[u8]) -> Option<Vec<u8>> {
    let data = body.strip_prefix(b"data=")?;
    let data = data.split(|byte| *byte == b'&').next()?;
    // a form writes spaces as pluses, and base64 has pluses
    let plain: Vec<u8> = percent_decode(data).map(|byte| if byte == b' ' { b'+' } else { byte }).collect();
    Some(STANDARD.decode(&plain).unwrap_or(plain))
}

impl Format for Posthog {
    const LIST: &'static str = "batch";
    fn member<'a>(&mut self, key: &Text<'a>, reader: &mut Reader<'a>, found: &mut Found<'a>) -> Result<(), JsonError> {
        let token = reader.value(&mut ())?;
        match key.value().as_bytes() {
            b"api_key" | b"token" => found.key = text(&token),
            b"sent_at" => found.sent_ms = time::parse(&token),
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
        let (mut of, mut properties) = (Captured::default(), Properties::default());
        let mut begun = true;
        while let Some(key) = reader.key(begun)? {
            begun = false;
            match key.value().as_bytes() {
                b"properties" => of.properties(&mut properties, reader, &mut self.room)?,
                b"$set" => of.email = member(reader, b"email")?,
                other => of.set(other, reader.value(&mut ())?),
            }
        }
        let theirs = text.get(from..reader.at()).unwrap_or_default();
        self.write(of, properties, theirs, found);
        Ok(())
    }
}

impl<'a> Captured<'a> {
    fn set(&mut self, name: &[u8], token: Token<'a>) {
        let place = match name {
            b"event" => &mut self.event,
            b"uuid" => &mut self.id,
            b"distinct_id" | b"$distinct_id" => &mut self.who,
            b"timestamp" => &mut self.timestamp,
            b"api_key" | b"token" => &mut self.key,
            b"sent_at" => &mut self.sent,
            _ => return,
        };
        *place = token;
    }
    fn properties(
        &mut self,
        into: &mut Properties<'a>,
        reader: &mut Reader<'a>,
        room: &mut Room,
    ) -> Result<(), JsonError> {
        if !reader.open(b'{')? {
            return reader.value(&mut ()).map(|_| ());
        }
        let mut begun = true;
        while let Some(key) = reader.key(begun)? {
            begun = false;
            match key.value().as_bytes() {
                b"distinct_id" => self.who = first(&[self.who, reader.value(&mut ())?]),
                b"token" => self.key = first(&[self.key, reader.value(&mut ())?]),
                b"$set" | b"$set_once" => self.email = first(&[self.email, member(reader, b"email")?]),
                // about the SDK, not about the shop
                name if name.starts_with(b"$lib") || name.starts_with(b"$geoip") || name == b"$is_server" => {
                    reader.value(&mut ())?;
                }
                _ => into.member(&key, reader, room)?,
            }
        }
        Ok(())
    }
    fn event_type(&self) -> Option<Cow<'a, str>> {
        let Token::Text(name) = &self.event else { return None };
        Some(match name.raw {
            "" => return None,
            "$pageview" => "page.viewed".into(),
            "$screen" => "screen.viewed".into(),
            "$identify" | "$set" => "user.identified".into(),
            "$create_alias" => "user.aliased".into(),
            "$groupidentify" => "user.grouped".into(),
            _ => event_type(name),
        })
    }
}

impl Posthog {
    fn write<'a>(&mut self, of: Captured<'a>, mut properties: Properties<'a>, theirs: &'a str, found: &mut Found<'a>) {
        if found.key.is_none() {
            found.key = text(&of.key);
        }
        if found.sent_ms.is_none() {
            found.sent_ms = time::parse(&of.sent);
        }
        let Some(kind) = of.event_type() else {
            return found.refused(theirs, Reject { code: "missing_field", message: "event is missing".into() });
        };
        if IGNORED.contains(&&*kind) {
            return found.ignored(theirs, "not_scored", kind);
        }
        let time_ms = time::parse(&of.timestamp);
        if given(&of.timestamp) && time_ms.is_none() {
            let message = "timestamp must be RFC 3339 with an offset".into();
            return found.refused(theirs, Reject { code: "invalid_field", message });
        }
        properties.email = first(&[of.email, properties.email]);
        let mark = found.mark();
        let mut native = found.begin();
        native.id("id", &of.id);
        native.text("type", &kind);
        if text(&of.who) != text(&properties.device) {
            native.id("customer_id", &of.who);
        }
        properties.write(&mut native, &mut self.room);
        native.end();
        let lacks = Lacks { ip: !given(&properties.ip), user_agent: !given(&properties.user_agent) };
        found.event(theirs, mark, time_ms, None, lacks);
    }
}
