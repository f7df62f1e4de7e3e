//! The fields of one event as they are written, each in its place; of a repeated field the last one counts.
//!
//! First half of decoding: shape only. Types and limits are checked where the values are used, in [`mod@super::decode`], so
//! that a repeated field of the wrong type does no harm when a later one is right, as with Python's `json`.

use super::json::{JsonError, Reader, Text, Token, Watch};
use super::reject::{COMPLETION_BYTES, MAX_EVENT_BYTES};
use super::{MAX_EXTRA_ENTITIES, MAX_ITEMS, Reject};

/// Numbers in `signals` of one event (contract 1).
pub const MAX_EVENT_SIGNALS: usize = 32;

/// Fields of the event itself and of `payment` that hold one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[allow(missing_docs)] // the names are the contract's
pub enum Place {
    Id,
    Type,
    Time,
    Source,
    Customer,
    Session,
    Device,
    Ip,
    Email,
    UserAgent,
    Country,
    BillingCountry,
    ShippingCountry,
    Order,
    Amount,
    Currency,
    Shipping,
    Tax,
    Discount,
    Coupon,
    Metric,
    Value,
    Dimensions,
    PaymentId,
    PaymentMethod,
    PaymentCard,
    PaymentStatus,
}

/// Names in the order of [`Place`], as messages say them.
const NAMES: [&str; 27] = [
    "id",
    "type",
    "time",
    "source",
    "customer_id",
    "session_id",
    "device_id",
    "ip",
    "email_hash",
    "user_agent",
    "country",
    "billing_country",
    "shipping_country",
    "order_id",
    "amount",
    "currency",
    "shipping",
    "tax",
    "discount",
    "coupon",
    "metric",
    "value",
    "dimensions",
    "payment.id",
    "payment.method",
    "payment.card",
    "payment.status",
];

impl Place {
    /// The field's name.
    pub fn name(self) -> &'static str {
        NAMES.get(self as usize).copied().unwrap_or_default()
    }
    fn of_event(key: &[u8]) -> Option<Place> {
        use Place::*;
        Some(match key {
            b"id" => Id,
            b"type" => Type,
            b"time" => Time,
            b"source" => Source,
            b"customer_id" => Customer,
            b"session_id" => Session,
            b"device_id" => Device,
            b"ip" => Ip,
            b"email_hash" => Email,
            b"user_agent" => UserAgent,
            b"country" => Country,
            b"billing_country" => BillingCountry,
            b"shipping_country" => ShippingCountry,
            b"order_id" => Order,
            b"amount" => Amount,
            b"currency" => Currency,
            b"shipping" => Shipping,
            b"tax" => Tax,
            b"discount" => Discount,
            b"coupon" => Coupon,
            b"metric" => Metric,
            b"value" => Value,
            b"dimensions" => Dimensions,
            _ => return None,
        })
    }
    fn of_payment(key: &[u8]) -> Option<Place> {
        Some(match key {
            b"id" => Place::PaymentId,
            b"method" => Place::PaymentMethod,
            b"card" => Place::PaymentCard,
            b"status" => Place::PaymentStatus,
            _ => return None,
        })
    }
    /// Text that is never masked: ids, and amounts and times, which are no free text (masked, they could not be decoded).
    fn stays(self) -> bool {
        use Place::*;
        matches!(self, Id | Source | Customer | Session | Device | Ip | Email | Order | PaymentId | PaymentCard)
            || matches!(self, Time | Amount | Shipping | Tax | Discount)
    }
}

/// The fields of an item.
#[derive(Clone, Copy, Debug, Default)]
pub struct ItemTokens<'a> {
    /// `product_id`
    pub product: Token<'a>,
    /// `category`
    pub category: Token<'a>,
    /// `quantity`
    pub quantity: Token<'a>,
    /// `price`
    pub price: Token<'a>,
}

/// A field that should be an object or array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Not there, or `null`.
    #[default]
    Absent,
    /// As it should be.
    Right,
    /// Something else, or something else in it.
    Wrong,
    /// More members than the contract allows.
    TooMany,
}

/// The fields of one event.
#[derive(Debug, Default)]
pub struct Fields<'a> {
    tokens: [Token<'a>; NAMES.len()],
    /// `payment`
    pub payment: Shape,
    /// `items`
    pub items_shape: Shape,
    /// The first [`MAX_ITEMS`] items.
    pub items: Vec<ItemTokens<'a>>,
    /// All items.
    pub items_count: u32,
    /// `entities`
    pub entities_shape: Shape,
    /// Name and id, in the order of their first appearance.
    pub entities: Vec<(Text<'a>, Token<'a>)>,
    /// `signals`
    pub signals_shape: Shape,
    /// Name and number, in the order of their first appearance.
    pub signals: Vec<(Text<'a>, Token<'a>)>,
    /// Byte behind the event's opening bracket.
    pub inside: usize,
    /// The event has no field at all.
    pub empty: bool,
}

impl<'a> Fields<'a> {
    /// The last value given for a field.
    pub fn get(&self, place: Place) -> Token<'a> {
        self.tokens.get(place as usize).copied().unwrap_or_default()
    }
    /// Puts a value in place.
    pub fn set(&mut self, place: Place, token: Token<'a>) {
        if let Some(slot) = self.tokens.get_mut(place as usize) {
            *slot = token;
        }
    }

    /// Takes one event apart. `watch` is told of every string that may be masked.
    pub fn parse<W: Watch>(json: &'a [u8], watch: &mut W) -> Result<Fields<'a>, Reject> {
        if json.len() > MAX_EVENT_BYTES + COMPLETION_BYTES {
            return Err(Reject::size(json.len()));
        }
        let text = std::str::from_utf8(json).map_err(|error| Reject::utf8(error.valid_up_to()))?;
        let mut fields = Fields::default();
        fields.event(&mut Reader::new(text), watch).map_err(Reject::json)?;
        Ok(fields)
    }

    fn event<W: Watch>(&mut self, reader: &mut Reader<'a>, watch: &mut W) -> Result<(), JsonError> {
        if !reader.open(b'{')? {
            return Err(JsonError::Syntax("expected an object", reader.at()));
        }
        self.inside = reader.at();
        let mut first = true;
        while let Some(key) = reader.key(first)? {
            first = false;
            let name = key.value();
            match name.as_bytes() {
                b"payment" => self.payment(reader, watch)?,
                b"items" => self.items(reader, watch)?,
                b"entities" => {
                    self.entities_shape = pairs(reader, watch, &mut self.entities, MAX_EXTRA_ENTITIES, true)?;
                }
                b"signals" => {
                    self.signals_shape = pairs(reader, watch, &mut self.signals, MAX_EVENT_SIGNALS, false)?;
                }
                other => match Place::of_event(other) {
                    Some(place) => {
                        let token = value(reader, watch, place.stays())?;
                        self.set(place, token);
                    }
                    None => {
                        watch.text(&key);
                        reader.value(watch)?;
                    }
                },
            }
        }
        self.empty = first;
        reader.end()
    }

    fn payment<W: Watch>(&mut self, reader: &mut Reader<'a>, watch: &mut W) -> Result<(), JsonError> {
        for place in [Place::PaymentId, Place::PaymentMethod, Place::PaymentCard, Place::PaymentStatus] {
            self.set(place, Token::Absent);
        }
        if !reader.open(b'{')? {
            self.payment = not_there(&reader.value(watch)?);
            return Ok(());
        }
        self.payment = Shape::Right;
        let mut first = true;
        while let Some(key) = reader.key(first)? {
            first = false;
            match Place::of_payment(key.value().as_bytes()) {
                Some(place) => {
                    let token = value(reader, watch, place.stays())?;
                    self.set(place, token);
                }
                None => {
                    watch.text(&key);
                    reader.value(watch)?;
                }
            }
        }
        Ok(())
    }

    fn items<W: Watch>(&mut self, reader: &mut Reader<'a>, watch: &mut W) -> Result<(), JsonError> {
        self.items.clear();
        self.items_count = 0;
        if !reader.open(b'[')? {
            self.items_shape = not_there(&reader.value(watch)?);
            return Ok(());
        }
        self.items_shape = Shape::Right;
        let mut first = true;
        while reader.element(first)? {
            first = false;
            self.items_count += 1;
            if !reader.open(b'{')? {
                reader.value(watch)?;
                self.items_shape = Shape::Wrong;
                continue;
            }
            let item = item(reader, watch)?;
            if self.items.len() < MAX_ITEMS {
                self.items.push(item);
            }
        }
        Ok(())
    }
}

/// An item whose bracket is open.
fn item<'a, W: Watch>(reader: &mut Reader<'a>, watch: &mut W) -> Result<ItemTokens<'a>, JsonError> {
    let mut item = ItemTokens::default();
    let mut first = true;
    while let Some(key) = reader.key(first)? {
        first = false;
        match key.value().as_bytes() {
            b"product_id" => item.product = value(reader, watch, true)?,
            b"category" => item.category = reader.value(watch)?,
            b"quantity" => item.quantity = reader.value(watch)?,
            b"price" => item.price = value(reader, watch, true)?,
            _ => {
                watch.text(&key);
                reader.value(watch)?;
            }
        }
    }
    Ok(item)
}

/// What a value says that is not the container it should be.
fn not_there(token: &Token<'_>) -> Shape {
    if matches!(token, Token::Null(_)) { Shape::Absent } else { Shape::Wrong }
}

/// A value; when it is text that stays as it is, nobody is told of it.
fn value<'a, W: Watch>(reader: &mut Reader<'a>, watch: &mut W, stays: bool) -> Result<Token<'a>, JsonError> {
    if stays && reader.text_next() { reader.value(&mut ()) } else { reader.value(watch) }
}

/// An object of names and values, the last of equal names counting.
fn pairs<'a, W: Watch>(
    reader: &mut Reader<'a>,
    watch: &mut W,
    into: &mut Vec<(Text<'a>, Token<'a>)>,
    most: usize,
    ids: bool,
) -> Result<Shape, JsonError> {
    into.clear();
    if !reader.open(b'{')? {
        return Ok(not_there(&reader.value(watch)?));
    }
    let mut shape = Shape::Right;
    let mut first = true;
    while let Some(key) = reader.key(first)? {
        first = false;
        let token = value(reader, watch, ids)?;
        if let Some(same) = into.iter_mut().find(|pair| pair.0.value() == key.value()) {
            same.1 = token;
        } else if into.len() < most {
            into.push((key, token));
        } else {
            shape = Shape::TooMany;
        }
    }
    Ok(shape)
}
