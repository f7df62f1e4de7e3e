//! The words of shop tracking that several ways in share: names of events and of their properties, as Segment's e-commerce
//! specification (version 2) and Google Analytics 4 have them.
//!
//! Deliberately absent: envelopes; each way in has its own.

use super::native::{Members, Native, country, currency, first, given, number};
use pulse_models::features::Group;
use pulse_operators::record::EventType;
use pulse_operators::record::json::{JsonError, Reader, Text, Token};
use std::borrow::Cow;

/// Items of one event that are written; the check looks at the first 32, GA4 sends at most 200.
const ITEMS_MAX: u32 = 200;
/// Bytes of items and of other properties that an event may carry along: half of its size each, at most.
const PART_BYTES_MAX: usize = 14 * 1024;
/// Longest name of an event that is looked up.
const KNOWN_NAME_MAX: usize = 32;

/// The native type of an event's foreign name: Segment's, GA4's, our own, in any case, with spaces, `_`, `-` or `.` between words. An
/// unknown name stays what it is.
pub fn event_type<'a>(name: &Text<'a>) -> Cow<'a, str> {
    let name = name.value();
    known(&name).map_or(name, Cow::Borrowed)
}

/// The native type, if the name is a known one.
pub fn known(name: &str) -> Option<&'static str> {
    let mut plain = [0; KNOWN_NAME_MAX];
    let plain = plain.get_mut(..name.len())?;
    for (to, byte) in plain.iter_mut().zip(name.bytes()) {
        *to = match byte {
            b' ' | b'-' | b'.' => b'_',
            other => other.to_ascii_lowercase(),
        };
    }
    Some(match &*plain {
        b"product_viewed" | b"viewed_product" | b"view_item" => "product.viewed",
        b"product_clicked" | b"clicked_product" | b"select_item" => "product.clicked",
        b"products_searched" | b"search" | b"search_performed" | b"view_search_results" => "search.performed",
        b"product_added" | b"added_product" | b"add_to_cart" | b"cart_added" => "cart.added",
        b"product_removed" | b"removed_product" | b"remove_from_cart" | b"cart_removed" => "cart.removed",
        b"checkout_started" | b"started_checkout" | b"begin_checkout" => "checkout.started",
        b"coupon_applied" => "coupon.applied",
        b"coupon_denied" => "coupon.denied",
        b"payment_info_entered" | b"add_payment_info" | b"payment_attempted" => "payment.attempted",
        b"payment_authorized" => "payment.authorized",
        b"payment_failed" => "payment.failed",
        b"payment_captured" => "payment.captured",
        b"order_completed" | b"completed_order" | b"purchase" => "order.completed",
        b"order_updated" => "order.updated",
        b"order_cancelled" | b"order_canceled" => "order.cancelled",
        b"return_requested" => "return.requested",
        b"order_refunded" | b"refund" => "order.refunded",
        b"account_created" | b"signed_up" | b"sign_up" | b"user_signed_up" => "account.created",
        b"account_login" | b"signed_in" | b"login" | b"user_signed_in" => "account.login",
        b"account_login_failed" | b"login_failed" | b"sign_in_failed" => "account.login_failed",
        b"heartbeat" => "heartbeat",
        _ => return None,
    })
}

/// May a key that everybody can read in a browser send this type?
pub fn for_browsers(type_name: &str) -> bool {
    matches!(EventType::parse(type_name).group(), Group::Browse | Group::Cart)
}

/// Properties of one event, in their places.
#[derive(Default)]
pub struct Properties<'a> {
    order: Token<'a>,
    total: [Token<'a>; 3],
    currency: Token<'a>,
    shipping: Token<'a>,
    tax: Token<'a>,
    discount: Token<'a>,
    coupon: Token<'a>,
    /// `session_id`
    pub session: Token<'a>,
    /// `device_id`
    pub device: Token<'a>,
    /// `ip`
    pub ip: Token<'a>,
    /// `user_agent`
    pub user_agent: Token<'a>,
    /// An e-mail address, of which the hash is written.
    pub email: Token<'a>,
    /// `country`
    pub country: Token<'a>,
    payment_id: Token<'a>,
    method: Token<'a>,
    card: Token<'a>,
    status: Token<'a>,
    decline: Token<'a>,
    /// A product of the event itself, beside the list.
    product: Product<'a>,
    items: u32,
}

/// A product as it is told.
#[derive(Default)]
struct Product<'a> {
    ids: [Token<'a>; 3],
    category: Token<'a>,
    name: Token<'a>,
    price: Token<'a>,
    quantity: Token<'a>,
}

/// Room that is used again for each event.
#[derive(Default)]
pub struct Room {
    items: Vec<u8>,
    rest: Members,
    item: Members,
    payment: Members,
}

impl Room {
    /// Empty, for the next event.
    pub fn clear(&mut self) {
        self.items.clear();
        self.rest.clear();
        self.payment.clear();
    }
    /// Keeps a foreign member among `properties`.
    pub fn keep(&mut self, key: &Text, value: &Token) {
        self.rest.keep(key, value);
    }
    /// Writes a member of `properties`.
    pub fn note(&mut self) -> Native<'_> {
        self.rest.writer()
    }
}

impl<'a> Properties<'a> {
    /// Reads the object that comes next; something else is passed over.
    pub fn read(&mut self, reader: &mut Reader<'a>, room: &mut Room) -> Result<(), JsonError> {
        if !reader.open(b'{')? {
            reader.value(&mut ())?;
            return Ok(());
        }
        let mut first = true;
        while let Some(key) = reader.key(first)? {
            first = false;
            self.member(&key, reader, room)?;
        }
        Ok(())
    }
    /// Reads one member, standing before its value.
    pub fn member(&mut self, key: &Text<'a>, reader: &mut Reader<'a>, room: &mut Room) -> Result<(), JsonError> {
        let name = key.value();
        if matches!(name.as_bytes(), b"products" | b"items") && room.items.is_empty() && reader.open(b'[')? {
            return self.products(reader, room);
        }
        let token = reader.value(&mut ())?;
        match self.place(name.as_bytes(), &token) {
            Some(place) if !given(place) => *place = token,
            _ => room.keep(key, &token),
        }
        Ok(())
    }
    /// Where a member's value belongs, if it is one that can stand there.
    fn place(&mut self, name: &[u8], token: &Token<'a>) -> Option<&mut Token<'a>> {
        let (amount, word) = (number(token).is_some(), matches!(token, Token::Text(_) | Token::Number(_)));
        let place = match name {
            b"total" if amount => self.total.first_mut()?,
            b"revenue" if amount => self.total.get_mut(1)?,
            b"value" if amount => self.total.get_mut(2)?,
            b"shipping" if amount => &mut self.shipping,
            b"tax" if amount => &mut self.tax,
            b"discount" if amount => &mut self.discount,
            b"price" if amount => &mut self.product.price,
            b"quantity" if amount => &mut self.product.quantity,
            b"currency" if currency(token) => &mut self.currency,
            b"country" if country(token) => &mut self.country,
            b"order_id" | b"orderId" | b"transaction_id" if word => &mut self.order,
            b"coupon" if word => &mut self.coupon,
            b"product_id" | b"item_id" if word => self.product.ids.first_mut()?,
            b"sku" if word => self.product.ids.get_mut(1)?,
            b"category" | b"item_category" if word => &mut self.product.category,
            b"session_id" | b"sessionId" | b"$session_id" if word => &mut self.session,
            b"device_id" | b"deviceId" | b"$device_id" if word => &mut self.device,
            b"ip" | b"$ip" if word => &mut self.ip,
            b"user_agent" | b"userAgent" | b"$raw_user_agent" if word => &mut self.user_agent,
            b"email" if word => &mut self.email,
            b"payment_id" | b"paymentId" if word => &mut self.payment_id,
            b"payment_method" | b"payment_type" if word => &mut self.method,
            b"payment_card" | b"card_fingerprint" if word => &mut self.card,
            b"payment_status" if word => &mut self.status,
            b"decline_code" if word => &mut self.decline,
            _ => return None,
        };
        Some(place)
    }
    fn products(&mut self, reader: &mut Reader<'a>, room: &mut Room) -> Result<(), JsonError> {
        let mut first = true;
        while reader.element(first)? {
            first = false;
            if !reader.open(b'{')? {
                reader.value(&mut ())?;
                continue;
            }
            let product = Product::read(reader)?;
            self.items += 1;
            if self.items <= ITEMS_MAX && room.items.len() < PART_BYTES_MAX {
                product.write(room);
            }
        }
        Ok(())
    }
    /// The order's or transaction's id.
    pub fn order(&self) -> Token<'a> {
        self.order
    }
    /// Writes everything, the rest as `properties`.
    pub fn write(&self, native: &mut Native, room: &mut Room) {
        native.id("order_id", &self.order);
        native.number("amount", &first(&self.total));
        native.word("currency", &self.currency);
        native.number("shipping", &self.shipping);
        native.number("tax", &self.tax);
        native.number("discount", &self.discount);
        native.word("coupon", &self.coupon);
        native.id("session_id", &self.session);
        native.id("device_id", &self.device);
        native.id("ip", &self.ip);
        native.long("user_agent", &self.user_agent);
        native.email(&self.email);
        native.word("country", &self.country);
        let mut payment = room.payment.writer();
        payment.id("id", &self.payment_id);
        payment.word("method", &self.method);
        payment.id("card", &self.card);
        payment.word("status", &self.status);
        payment.word("decline_code", &self.decline);
        native.object("payment", &room.payment);
        self.write_items(native, room);
        write_rest(native, room);
    }
    fn write_items(&self, native: &mut Native, room: &mut Room) {
        if self.items == 0 && self.product.is_there() {
            self.product.write(room);
        } else if self.items == 0 {
            // prices and categories without a product are what other events call so
            let mut rest = room.rest.writer();
            rest.number("price", &self.product.price);
            rest.number("quantity", &self.product.quantity);
            rest.word("category", &self.product.category);
        }
        if let Some(inside) = room.items.get(1..).filter(|inside| !inside.is_empty()) {
            native.json("items", &[b"[", inside, b"]"].concat());
        }
    }
}

/// What has no place of its own; all or nothing of it, for half a value is none.
pub fn write_rest(native: &mut Native, room: &mut Room) {
    if room.rest.len() > PART_BYTES_MAX {
        let bytes = room.rest.len();
        room.rest.clear();
        room.rest.writer().json("left_out_bytes", bytes.to_string().as_bytes());
    }
    native.object("properties", &room.rest);
}

impl<'a> Product<'a> {
    fn is_there(&self) -> bool {
        given(&first(&self.ids))
    }
    /// An item whose bracket is open.
    fn read(reader: &mut Reader<'a>) -> Result<Product<'a>, JsonError> {
        let (mut product, mut begun) = (Product::default(), true);
        while let Some(key) = reader.key(begun)? {
            begun = false;
            let token = reader.value(&mut ())?;
            let amount = number(&token).is_some();
            let [id, sku, other] = &mut product.ids;
            match key.value().as_bytes() {
                b"product_id" | b"item_id" => *id = token,
                b"sku" => *sku = token,
                b"id" => *other = token,
                b"category" | b"item_category" => product.category = token,
                b"name" | b"item_name" => product.name = token,
                b"price" if amount => product.price = token,
                b"quantity" if amount => product.quantity = token,
                _ => {}
            }
        }
        Ok(product)
    }
    fn write(&self, room: &mut Room) {
        room.item.clear();
        let mut item = room.item.writer();
        item.id("product_id", &first(&self.ids));
        item.word("category", &self.category);
        item.word("name", &self.name);
        item.number("price", &self.price);
        item.number("quantity", &self.quantity);
        room.item.append_to(&mut room.items);
    }
}
