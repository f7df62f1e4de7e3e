//! JSON of the log to a decoded, validated, enriched [`Event`]: second half of decoding, where types and limits are checked.
//!
//! A pure function of its arguments; nothing in it can panic on input. The gateway's [`mod@super::admit`] runs the same code,
//! so that what it accepted is accepted here. What is tolerated: `null` and empty text count as absent; amounts may be
//! text (`"129.90"`); members that the contract does not name are only checked to be JSON.
//! Deliberately absent: entity state, the running maximum of event time (`late` is the source's business).

use super::fields::{Fields, MAX_EVENT_SIGNALS, Place, Shape};
use super::json::{Reader, Text, Token};
use super::reject::MAX_AHEAD_MS;
use super::settings::Settings;
use super::{
    Arena, Country, EntityKind, Event, EventType, Item, Lookup, MAX_EXTRA_ENTITIES, NO_AMOUNT, Reject, SINGLE_KINDS,
    Span, money, time,
};
use crate::cause::guarded;
use crate::enrich::{device, geo};
use pulse_models::features::MAX_SIGNALS;
use std::borrow::Cow;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// Characters of an id or name.
pub const MAX_ID_CHARS: usize = 100;
/// Dimensions of a `metric.sample`.
pub const MAX_DIMENSIONS: usize = 16;
/// `source` of events that name none.
pub const DEFAULT_SOURCE: &str = "default";

/// The key of an entity: `xxh3_64` of its text, seeded with its kind; never 0, which means absent.
pub fn entity_key(kind: EntityKind, text: &str) -> u64 {
    xxh3_64_with_seed(text.as_bytes(), kind as u64).max(1)
}

/// Decodes a record of `events.raw`. On a reject the arena is as it was.
pub fn decode(
    json: &[u8],
    partition: u16,
    offset: u64,
    received_ms: i64,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<Event, Reject> {
    let (text, items) = (arena.text.len(), arena.items.len());
    let decoded = guarded(u64::from(partition) << 48 | offset, || {
        let fields = Fields::parse(json, &mut ())?;
        build(&fields, (partition, offset), received_ms, settings, arena)
    });
    if decoded.is_err() {
        arena.text.truncate(text);
        arena.items.truncate(items);
    }
    decoded
}

/// Checks the fields and makes the event of them.
pub(crate) fn build(
    fields: &Fields<'_>,
    position: (u16, u64),
    received_ms: i64,
    settings: &Settings,
    arena: &mut Arena,
) -> Result<Event, Reject> {
    Builder { fields, settings, arena }.event(position, received_ms)
}

struct Builder<'b, 'a> {
    fields: &'b Fields<'a>,
    settings: &'b Settings,
    arena: &'b mut Arena,
}

impl Builder<'_, '_> {
    fn event(mut self, (partition, offset): (u16, u64), received_ms: i64) -> Result<Event, Reject> {
        let type_text = self.required(Place::Type)?;
        let event_type = EventType::parse(self.arena.get(type_text));
        let (source, id, identity) = self.identity()?;
        let time_ms = self.time(received_ms)?;
        let (keys, key_texts) = self.singles()?;
        let (extra, extra_texts) = self.extras()?;
        let (ip_country, geo) = self.geo(key_texts);
        let own = self.country(Place::Country)?;
        let (currency, exponent) = self.currency()?;
        let rate = self.settings.rate(currency).unwrap_or(f64::NAN);
        let amount_minor = self.amount(Place::Amount, exponent)?;
        let (items, catalogue) = self.items(exponent, rate)?;
        if self.fields.payment == Shape::Wrong {
            return Err(Reject::field("payment", "an object"));
        }
        let (metric, value, dimensions) = match event_type {
            EventType::MetricSample => self.sample()?,
            _ => (Span::default(), f64::NAN, Span::default()),
        };
        let (device_class, device) = self.device()?;
        Ok(Event {
            partition,
            offset,
            received_ms,
            time_ms,
            late: false,
            cold_start: false,
            event_type,
            type_text,
            id,
            source,
            identity,
            keys,
            key_texts,
            extra,
            extra_texts,
            country: if own.known() { own } else { ip_country },
            ip_country,
            billing_country: self.country(Place::BillingCountry)?,
            shipping_country: self.country(Place::ShippingCountry)?,
            currency,
            exponent,
            amount_minor,
            amount: in_shop_currency(amount_minor, exponent, rate),
            shipping_minor: self.amount(Place::Shipping, exponent)?,
            tax_minor: self.amount(Place::Tax, exponent)?,
            discount_minor: self.amount(Place::Discount, exponent)?,
            order_id: self.optional(Place::Order)?,
            payment_id: self.optional(Place::PaymentId)?,
            payment_method: self.optional(Place::PaymentMethod)?,
            payment_status: self.optional(Place::PaymentStatus)?,
            coupon: self.optional(Place::Coupon)?,
            device_class,
            bot: device_class == device::Class::Robot,
            items,
            items_count: self.fields.items_count,
            signals: self.signals()?,
            metric,
            value,
            dimensions,
            geo,
            device,
            catalogue,
        })
    }

    #[inline]
    fn optional(&mut self, place: Place) -> Result<Span, Reject> {
        match self.fields.get(place) {
            Token::Absent | Token::Null(_) => Ok(Span::default()),
            Token::Text(text) if !text.escaped && text.raw.len() <= MAX_ID_CHARS => Ok(self.arena.push(text.raw)),
            token => self.unusual(token, place),
        }
    }

    /// Text with escapes, long text, and what is no text.
    #[cold]
    fn unusual(&mut self, token: Token<'_>, place: Place) -> Result<Span, Reject> {
        let text = short_text(&token, place.name())?;
        Ok(text.map_or(Span::default(), |text| self.arena.push(&text)))
    }

    fn required(&mut self, place: Place) -> Result<Span, Reject> {
        let token = self.fields.get(place);
        if matches!(token, Token::Absent | Token::Null(_)) {
            return Err(Reject::missing(place.name()));
        }
        let span = self.optional(place)?;
        if span.len == 0 { Err(Reject::field(place.name(), "text of 1-100 characters")) } else { Ok(span) }
    }

    /// Source, id and their hash: they stand side by side in the arena, and the source's length goes into the seed.
    fn identity(&mut self) -> Result<(Span, Span, u128), Reject> {
        let mut source = self.optional(Place::Source)?;
        if source.len == 0 {
            source = self.arena.push(DEFAULT_SOURCE);
        }
        let id = self.required(Place::Id)?;
        let both = Span { start: source.start, len: source.len + id.len };
        let seed = self.settings.identity_seed.wrapping_add(u64::from(source.len));
        Ok((source, id, xxh3_128_with_seed(self.arena.get(both).as_bytes(), seed)))
    }

    fn time(&self, received_ms: i64) -> Result<i64, Reject> {
        let token = self.fields.get(Place::Time);
        if matches!(token, Token::Absent | Token::Null(_)) {
            return Err(Reject::missing("time"));
        }
        let must = "RFC 3339 with an offset or integer milliseconds, in years 1 to 9999";
        let time_ms = time::parse(&token).ok_or_else(|| Reject::field("time", must))?;
        if time_ms > received_ms.saturating_add(MAX_AHEAD_MS) {
            return Err(Reject::future(time_ms.saturating_sub(received_ms)));
        }
        Ok(time_ms)
    }

    fn singles(&mut self) -> Result<([u64; SINGLE_KINDS], [Span; SINGLE_KINDS]), Reject> {
        use EntityKind as Kind;
        const PLACES: [(Kind, Place); SINGLE_KINDS] = [
            (Kind::Customer, Place::Customer),
            (Kind::Session, Place::Session),
            (Kind::Device, Place::Device),
            (Kind::Card, Place::PaymentCard),
            (Kind::Ip, Place::Ip),
            (Kind::Email, Place::Email),
        ];
        let mut keys = [0; SINGLE_KINDS];
        let mut texts = [Span::default(); SINGLE_KINDS];
        for ((kind, place), (key, text)) in PLACES.into_iter().zip(keys.iter_mut().zip(&mut texts)) {
            *text = self.optional(place)?;
            if text.len > 0 {
                *key = entity_key(kind, self.arena.get(*text));
            }
        }
        Ok((keys, texts))
    }

    /// Every pair is checked; those that are configured get their place in the order of the configuration.
    fn extras(&mut self) -> Result<([u64; MAX_EXTRA_ENTITIES], [Span; MAX_EXTRA_ENTITIES]), Reject> {
        let mut keys = [0; MAX_EXTRA_ENTITIES];
        let mut texts = [Span::default(); MAX_EXTRA_ENTITIES];
        shape(self.fields.entities_shape, "entities", "an object of at most 8 names and ids")?;
        for (name, token) in &self.fields.entities {
            let name = checked_name(name, "names in entities")?;
            let Some(id) = short_text(token, "ids in entities")? else { continue };
            let Some(at) = self.settings.extra_entities.iter().position(|extra| *extra == *name) else { continue };
            let start = self.arena.push(&name).start;
            self.arena.push(":");
            let end = self.arena.push(&id);
            let span = Span { start, len: end.start + end.len - start };
            if let (Some(key), Some(text)) = (keys.get_mut(at), texts.get_mut(at)) {
                *key = entity_key(EntityKind::Extra, self.arena.get(span));
                *text = span;
            }
        }
        Ok((keys, texts))
    }

    fn signals(&self) -> Result<[f32; MAX_SIGNALS], Reject> {
        let mut values = [f32::NAN; MAX_SIGNALS];
        shape(self.fields.signals_shape, "signals", "an object of at most 32 names and numbers")?;
        debug_assert!(self.fields.signals.len() <= MAX_EVENT_SIGNALS);
        for (name, token) in &self.fields.signals {
            let name = checked_name(name, "names in signals")?;
            let value = match token {
                Token::Number(text) => finite(text).ok_or_else(|| Reject::field("signals", "finite numbers"))?,
                Token::Null(_) => continue,
                _ => return Err(Reject::field("signals", "finite numbers")),
            };
            let at = self.settings.signals.iter().position(|signal| *signal == *name);
            if let Some(slot) = at.and_then(|at| values.get_mut(at)) {
                *slot = (value as f32).clamp(f32::MIN, f32::MAX); // beyond binary32: its largest
            }
        }
        Ok(values)
    }

    fn geo(&self, texts: [Span; SINGLE_KINDS]) -> (Country, Lookup) {
        let ip = texts.get(EntityKind::Ip as usize).copied().unwrap_or_default();
        match ip.len {
            0 => (Country::NONE, Lookup::Absent),
            _ if !self.settings.geo => (Country::NONE, Lookup::Unavailable),
            _ => geo::country(self.arena.get(ip)),
        }
    }

    fn device(&self) -> Result<(device::Class, Lookup), Reject> {
        match self.fields.get(Place::UserAgent) {
            Token::Absent | Token::Null(_) => Ok((device::Class::Unknown, Lookup::Absent)),
            Token::Text(text) if text.raw.is_empty() => Ok((device::Class::Unknown, Lookup::Absent)),
            Token::Text(text) => {
                let class = device::class(&text.value());
                Ok((class, class.lookup()))
            }
            _ => Err(Reject::field("user_agent", "text")),
        }
    }

    fn country(&self, place: Place) -> Result<Country, Reject> {
        let token = self.fields.get(place);
        if token == Token::Absent {
            return Ok(Country::NONE);
        }
        let Some(text) = short_text(&token, place.name())? else { return Ok(Country::NONE) };
        Country::parse(&text).ok_or_else(|| Reject::field(place.name(), "two letters (ISO 3166 alpha-2)"))
    }

    fn currency(&self) -> Result<([u8; 3], u8), Reject> {
        match short_text(&self.fields.get(Place::Currency), "currency")? {
            None => Ok((self.settings.currency, self.settings.exponent)),
            Some(text) => {
                let currency = money::currency(&text);
                let currency = currency.ok_or_else(|| Reject::field("currency", "three letters (ISO 4217)"))?;
                Ok((currency, money::exponent(currency)))
            }
        }
    }

    fn amount(&self, place: Place, exponent: u8) -> Result<i64, Reject> {
        amount(&self.fields.get(place), exponent, place.name())
    }

    /// The items' range in the arena, and how the look-up in the catalogue went.
    fn items(&mut self, exponent: u8, rate: f64) -> Result<((u32, u32), Lookup), Reject> {
        shape(self.fields.items_shape, "items", "an array of objects")?;
        let start = self.arena.items.len();
        let (mut known, mut unknown) = (0, 0);
        for tokens in &self.fields.items {
            let mut item = Item { quantity: f64::NAN, price: f64::NAN, catalogue_price: f64::NAN, ..Item::default() };
            if let Some(category) = short_text(&tokens.category, "items[].category")? {
                item.category = self.arena.push(&category);
            }
            if let Some(product) = short_text(&tokens.product, "items[].product_id")? {
                item.product_id = self.arena.push(&product);
                item.product = entity_key(EntityKind::Product, &product);
                match self.settings.catalogue.as_ref().and_then(|catalogue| catalogue.get(item.product)) {
                    Some(product) => {
                        known += 1;
                        item.catalogue_price = product.price;
                        if item.category.len == 0 {
                            item.category = self.arena.push(&product.category);
                        }
                    }
                    None => unknown += 1,
                }
            }
            item.quantity = quantity(&tokens.quantity)?;
            item.price_minor = amount(&tokens.price, exponent, "items[].price")?;
            item.price = in_shop_currency(item.price_minor, exponent, rate);
            self.arena.items.push(item);
        }
        let lookup = match (known + unknown, &self.settings.catalogue) {
            (0, _) => Lookup::Absent,
            (_, None) => Lookup::Unavailable,
            _ if unknown == 0 => Lookup::Ok,
            _ => Lookup::Unknown,
        };
        Ok(((start as u32, self.arena.items.len() as u32), lookup))
    }

    fn sample(&mut self) -> Result<(Span, f64, Span), Reject> {
        let metric = self.required(Place::Metric)?;
        let value = match self.fields.get(Place::Value) {
            Token::Absent | Token::Null(_) => return Err(Reject::missing("value")),
            Token::Number(text) => finite(text),
            _ => None,
        };
        let value = value.ok_or_else(|| Reject::field("value", "a finite number"))?;
        let dimensions = match self.fields.get(Place::Dimensions) {
            Token::Absent | Token::Null(_) => Span::default(),
            Token::Object(json) => {
                let text = dimensions(json)?;
                self.arena.push(&text)
            }
            _ => return Err(Reject::field("dimensions", "an object")),
        };
        Ok((metric, value, dimensions))
    }
}

/// Text of 1-100 characters; `None` when absent or empty.
#[inline]
fn short_text<'a>(token: &Token<'a>, field: &str) -> Result<Option<Cow<'a, str>>, Reject> {
    match token {
        Token::Absent | Token::Null(_) => Ok(None),
        Token::Text(text) => {
            let value = text.value();
            if value.len() > MAX_ID_CHARS && value.chars().count() > MAX_ID_CHARS {
                return Err(Reject::field(field, "text of 1-100 characters"));
            }
            Ok(Some(value).filter(|value| !value.is_empty()))
        }
        _ => Err(Reject::field(field, "text of 1-100 characters")),
    }
}

fn checked_name<'a>(name: &Text<'a>, field: &str) -> Result<Cow<'a, str>, Reject> {
    short_text(&Token::Text(*name), field)?.ok_or_else(|| Reject::field(field, "text of 1-100 characters"))
}

fn shape(shape: Shape, field: &str, must: &str) -> Result<(), Reject> {
    match shape {
        Shape::Absent | Shape::Right => Ok(()),
        Shape::Wrong | Shape::TooMany => Err(Reject::field(field, must)),
    }
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Minor units of a number or of a text that writes one.
fn amount(token: &Token<'_>, exponent: u8, field: &str) -> Result<i64, Reject> {
    let minor = match token {
        Token::Absent | Token::Null(_) => return Ok(NO_AMOUNT),
        Token::Number(text) => money::minor(text, exponent),
        Token::Text(text) if text.raw.is_empty() => return Ok(NO_AMOUNT),
        Token::Text(text) => money::minor(&text.value(), exponent),
        _ => None,
    };
    minor.ok_or_else(|| Reject::field(field, "a decimal number below ten trillion"))
}

fn quantity(token: &Token<'_>) -> Result<f64, Reject> {
    match token {
        Token::Absent | Token::Null(_) => Ok(f64::NAN),
        Token::Number(text) => finite(text).ok_or_else(|| Reject::field("items[].quantity", "a finite number")),
        _ => Err(Reject::field("items[].quantity", "a finite number")),
    }
}

fn in_shop_currency(minor: i64, exponent: u8, rate: f64) -> f64 {
    if minor == NO_AMOUNT { f64::NAN } else { money::major(minor, exponent) * rate }
}

/// `a=b,c=d` in the order of names; `=`, `,` and `\` in names and values get a backslash before them.
fn dimensions(json: &str) -> Result<String, Reject> {
    let must = || Reject::field("dimensions", "an object of at most 16 names with text, numbers or booleans");
    let mut reader = Reader::new(json);
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    reader.open(b'{').map_err(Reject::json)?;
    let mut first = true;
    while let Some(key) = reader.key(first).map_err(Reject::json)? {
        first = false;
        let token = reader.value(&mut ()).map_err(Reject::json)?;
        let name = checked_name(&key, "names in dimensions")?;
        let value = match token {
            Token::Null(_) => Cow::Borrowed(""),
            Token::Text(_) => short_text(&token, "values in dimensions")?.unwrap_or_default(),
            Token::Number(text) if text.len() <= MAX_ID_CHARS => Cow::Borrowed(text),
            Token::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            _ => return Err(must()),
        };
        if let Some(same) = pairs.iter_mut().find(|pair| pair.0 == name) {
            same.1 = value;
        } else if pairs.len() < MAX_DIMENSIONS {
            pairs.push((name, value));
        } else {
            return Err(must());
        }
    }
    pairs.sort();
    let mut text = String::new();
    for (name, value) in pairs.iter().filter(|pair| !pair.1.is_empty()) {
        if !text.is_empty() {
            text.push(',');
        }
        escape(name, &mut text);
        text.push('=');
        escape(value, &mut text);
    }
    Ok(text)
}

fn escape(part: &str, into: &mut String) {
    for c in part.chars() {
        if matches!(c, '=' | ',' | '\\') {
            into.push('\\');
        }
        into.push(c);
    }
}
