//! Google Analytics 4, Measurement Protocol: `/mp/collect`. The key goes into a header, for what stands in an address ends in logs.
//!
//! | theirs | native event |
//! |---|---|
//! | `view_item`, `select_item`, `search`, `add_to_cart`, `remove_from_cart`, `begin_checkout`, `add_payment_info`, `purchase`, `refund`, `sign_up`, `login` | the type of that name |
//! | `page_view`, `screen_view` | `page.viewed`, `screen.viewed` |
//! | another `name` | the name as the type |
//! | `user_id`; `client_id` or `app_instance_id` | `customer_id`; `device_id` |
//! | `params.timestamp_micros` or `timestamp_micros` of the event or of the request | `time` |
//! | `params.event_id`, else `transaction_id` with the name | `id` |
//! | `ip_override`, `params.session_id` | `ip`, `session_id` |
//! | `params.value`, `currency`, `tax`, `shipping`, `coupon`, `items[]` | `amount`, `currency`, `tax`, `shipping`, `coupon`, `items` |
//!
//! The protocol has no ids: a purchase or refund is known again by its transaction; other events that are sent twice count twice.

use super::commerce::{Properties, Room, event_type};
use super::envelope::{self, Format, Unusable};
use super::found::{Found, Lacks};
use super::native::{first, given};
use super::segment::text;
use pulse_operators::record::Reject;
use pulse_operators::record::json::{JsonError, Reader, Text, Token};
use std::borrow::Cow;

/// The format: an envelope whose members hold for all of its events.
#[derive(Default)]
pub struct Ga4<'e> {
    client: Token<'e>,
    user: Token<'e>,
    ip: Token<'e>,
    time: Token<'e>,
    room: Room,
}

/// Reads a request.
pub fn translate<'a>(body: &'a str, max: usize, found: &mut Found<'a>) -> Result<(), Unusable> {
    // what holds for all events may stand behind them: it is read first
    let mut around = Around::default();
    around.read(body)?;
    let mut format =
        Ga4 { client: around.client, user: around.user, ip: around.ip, time: around.time, room: Room::default() };
    envelope::read(body, max, &mut format, found)
}

#[derive(Default)]
struct Around<'a> {
    client: Token<'a>,
    user: Token<'a>,
    ip: Token<'a>,
    time: Token<'a>,
}
impl<'a> Around<'a> {
    /// From the members by brackets alone, for events that are no JSON must not cost the others.
    fn read(&mut self, body: &'a str) -> Result<(), Unusable> {
        let no_object = || Unusable::Malformed("expected an object with a list of events".into());
        for (name, value) in crate::gateway::split::members(body).ok_or_else(no_object)? {
            let value = || Reader::new(value).value(&mut ()).unwrap_or_default();
            match name {
                "client_id" | "app_instance_id" => self.client = value(),
                "user_id" => self.user = value(),
                "ip_override" => self.ip = value(),
                "timestamp_micros" => self.time = value(),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Milliseconds of a number of microseconds, also as text.
fn millis(token: &Token) -> Option<i64> {
    let raw = match token {
        Token::Number(raw) => raw,
        Token::Text(text) => text.raw,
        _ => return None,
    };
    raw.parse::<i64>().ok().map(|micros| micros.div_euclid(1_000))
}

impl Format for Ga4<'_> {
    const LIST: &'static str = "events";
    fn member<'a>(&mut self, _: &Text<'a>, reader: &mut Reader<'a>, _: &mut Found<'a>) -> Result<(), JsonError> {
        reader.value(&mut ()).map(|_| ())
    }
    fn item<'a>(&mut self, text: &'a str, reader: &mut Reader<'a>, found: &mut Found<'a>) -> Result<(), JsonError> {
        let from = envelope::begin(reader);
        if !reader.open(b'{')? {
            return envelope::no_object(text, from, reader, found);
        }
        self.room.clear();
        let (mut name, mut own_time, mut id) = (Token::Absent, Token::Absent, Token::Absent);
        let mut properties = Properties::default();
        let mut begun = true;
        while let Some(key) = reader.key(begun)? {
            begun = false;
            match key.value().as_bytes() {
                b"name" => name = reader.value(&mut ())?,
                b"timestamp_micros" => own_time = reader.value(&mut ())?,
                b"params" if reader.open(b'{')? => {
                    let mut begun = true;
                    while let Some(key) = reader.key(begun)? {
                        begun = false;
                        match key.value().as_bytes() {
                            b"event_id" => id = reader.value(&mut ())?,
                            b"timestamp_micros" => own_time = reader.value(&mut ())?,
                            b"engagement_time_msec" => drop(reader.value(&mut ())?),
                            _ => properties.member(&key, reader, &mut self.room)?,
                        }
                    }
                }
                _ => drop(reader.value(&mut ())?),
            }
        }
        let theirs = text.get(from..reader.at()).unwrap_or_default();
        self.write(name, first(&[own_time, self.time]), id, properties, theirs, found);
        Ok(())
    }
}

impl Ga4<'_> {
    fn write<'a>(
        &mut self,
        name: Token<'a>,
        when: Token,
        id: Token<'a>,
        properties: Properties<'a>,
        theirs: &'a str,
        found: &mut Found<'a>,
    ) {
        let Token::Text(name) = name else {
            return found.refused(theirs, Reject { code: "missing_field", message: "name is missing".into() });
        };
        let kind = match name.raw {
            "page_view" => Cow::Borrowed("page.viewed"),
            "screen_view" => Cow::Borrowed("screen.viewed"),
            _ => event_type(&name),
        };
        let time_ms = millis(&when);
        if given(&when) && time_ms.is_none() {
            let message = "timestamp_micros must be whole microseconds".into();
            return found.refused(theirs, Reject { code: "invalid_field", message });
        }
        let order = text(&properties.order()).filter(|_| kind.starts_with("order."));
        let mark = found.mark();
        let mut native = found.begin();
        match (text(&id), order) {
            (Some(id), _) => native.text("id", &id),
            (None, Some(order)) => native.text("id", &format!("{kind}:{order}")),
            _ => {}
        }
        native.text("type", &kind);
        native.id("customer_id", &self.user);
        if !given(&properties.device) {
            native.id("device_id", &self.client);
        }
        if !given(&properties.ip) {
            native.id("ip", &self.ip);
        }
        let lacks_ip = !given(&properties.ip) && !given(&self.ip);
        properties.write(&mut native, &mut self.room);
        native.end();
        let lacks = Lacks { ip: lacks_ip, user_agent: !given(&properties.user_agent) };
        found.event(theirs, mark, time_ms, None, lacks);
    }
}
