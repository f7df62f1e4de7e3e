//! Covering: values of chosen members of an event are replaced, wherever they stand in its JSON, before anything else reads it.
//!
//! Every occurrence is replaced, of repeated members too, for the text of an event goes to the log as it is. What a chosen member
//! of the contract may not be (a number, an object, a text that is too long) stays something that is refused, only without what
//! it said. Text that is no JSON is left as it is: it is refused behind this.
//! Deliberately absent: which members, and by what ([`Cover`]).

use super::decode::MAX_ID_CHARS;
use super::json::{JsonError, Reader, Text, Token};
use super::mask::Cards;

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// A member of the event that the contract names.
    Event(&'a str),
    /// A member of `payment` that the contract names.
    Payment(&'a str),
    /// An entity of the user's own, by its name.
    Entity(&'a str),
    /// Any other member, however deep, by its own name.
    Property(&'a str),
}

/// What takes a value's place.
pub trait Cover {
    /// In place of `text`, which is never empty: characters that need no escape in JSON. `None`: it stays.
    fn cover(&self, member: Member<'_>, text: &str) -> Option<String>;
    /// Is this member covered at all? Its value is then replaced whatever it is.
    fn covers(&self, member: Member<'_>) -> bool;
}

/// Members of the event that are one value each; `payment`, `items`, `entities` and `signals` are looked into.
const SINGLE: [&str; 23] = [
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
];
const PAYMENT: [&str; 4] = ["id", "method", "card", "status"];
const ITEM: [&str; 4] = ["product_id", "category", "quantity", "price"];

/// The event with its values covered; `None` when there is nothing to cover, or when it is no JSON object.
pub fn cover(json: &[u8], by: &dyn Cover) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(json).ok()?;
    let mut walk = Walk { reader: Reader::new(text), by, edits: Vec::new() };
    walk.event().ok()?;
    let edits = walk.edits;
    if edits.is_empty() { None } else { Some(Cards::default().rewrite(json, &edits)) }
}

struct Walk<'a> {
    reader: Reader<'a>,
    by: &'a dyn Cover,
    /// Position, text, bytes replaced.
    edits: Vec<(usize, String, usize)>,
}

type Done = Result<(), JsonError>;

impl<'a> Walk<'a> {
    fn event(&mut self) -> Done {
        if !self.reader.open(b'{')? {
            return Err(JsonError::Syntax("expected an object", self.reader.at()));
        }
        let mut first = true;
        while let Some(key) = self.reader.key(first)? {
            first = false;
            let name = key.value();
            match name.as_ref() {
                "payment" => self.members(&PAYMENT, |name| Member::Payment(name))?,
                "entities" => self.members(&[], |name| Member::Entity(name))?,
                "signals" => self.members(&[], |_| Member::Event("signals"))?,
                "items" => self.items()?,
                single if SINGLE.contains(&single) => self.known(Member::Event(single))?,
                "properties" => self.below()?,
                other => self.property(other)?,
            }
        }
        self.reader.end()
    }

    /// The members of an object of the contract: those that are `named` (none: all) are its own, the others are the sender's.
    fn members(&mut self, named: &[&str], member: for<'m> fn(&'m str) -> Member<'m>) -> Done {
        if !self.reader.open(b'{')? {
            return self.below();
        }
        let mut first = true;
        while let Some(key) = self.reader.key(first)? {
            first = false;
            let name = key.value();
            if named.is_empty() || named.contains(&name.as_ref()) {
                self.known(member(&name))?;
            } else {
                self.property(&name)?;
            }
        }
        Ok(())
    }

    fn items(&mut self) -> Done {
        if !self.reader.open(b'[')? {
            return self.below();
        }
        let mut first = true;
        while self.reader.element(first)? {
            first = false;
            self.members(&ITEM, |_| Member::Event("items"))?;
        }
        Ok(())
    }

    /// The value of a member of the contract.
    fn known(&mut self, member: Member<'_>) -> Done {
        let (at, token) = self.value()?;
        if !self.by.covers(member) {
            return Ok(());
        }
        match token {
            Token::Text(text) => self.text(member, &text, true),
            // refused behind this as they came, without what they said
            Token::Number(_) => self.replace(at, "0".into()),
            Token::Object(_) => self.replace(at, "{}".into()),
            Token::Array(_) => self.replace(at, "[]".into()),
            Token::Absent | Token::Null(_) | Token::Bool(_) => {}
        }
        Ok(())
    }

    /// The value of a member of the sender's own.
    fn property(&mut self, name: &str) -> Done {
        let member = Member::Property(name);
        if !self.by.covers(member) {
            return self.below();
        }
        let (at, token) = self.value()?;
        match token {
            Token::Text(text) => self.text(member, &text, false),
            Token::Number(text) | Token::Object(text) | Token::Array(text) => {
                let covered = self.by.cover(member, text).map_or_else(|| "null".into(), |text| format!("\"{text}\""));
                self.replace(at, covered);
            }
            Token::Absent | Token::Null(_) | Token::Bool(_) => {}
        }
        Ok(())
    }

    /// A value that is not covered itself, and may hold some that are.
    fn below(&mut self) -> Done {
        let mut first = true;
        if self.reader.open(b'{')? {
            while let Some(key) = self.reader.key(first)? {
                first = false;
                self.property(&key.value())?;
            }
        } else if self.reader.open(b'[')? {
            while self.reader.element(first)? {
                first = false;
                self.below()?;
            }
        } else {
            self.reader.value(&mut ())?;
        }
        Ok(())
    }

    fn value(&mut self) -> Result<(usize, Token<'a>), JsonError> {
        self.reader.text_next(); // goes over blanks, so that the value begins here
        let at = self.reader.at();
        Ok((at, self.reader.value(&mut ())?))
    }

    fn text(&mut self, member: Member<'_>, text: &Text<'a>, is_id: bool) {
        let value = text.value();
        if value.is_empty() {
            return;
        }
        let long = is_id && value.len() > MAX_ID_CHARS && value.chars().count() > MAX_ID_CHARS;
        let covered = if long { Some("x".repeat(MAX_ID_CHARS + 1)) } else { self.by.cover(member, &value) };
        if let Some(covered) = covered {
            self.edits.push((text.at as usize, covered, text.raw.len()));
        }
    }

    /// The value from `at` to here.
    fn replace(&mut self, at: usize, by: String) {
        let length = self.reader.at() - at;
        self.edits.push((at, by, length));
    }
}
